// t5g for Swift: one model, asked from a background task. Needs libt5g.a and t5g.h beside module.modulemap.
//
//     let model = try T5g(path: Bundle.main.path(forResource: "model", ofType: "gguf")!)
//     for try await piece in model.stream(text) { summary += piece }
import CT5g
import Foundation

public struct T5gError: Error, CustomStringConvertible {
    public let status: t5g_status
    public let description: String
}

private func check(_ status: t5g_status) throws {
    if status != T5G_OK { throw T5gError(status: status, description: String(cString: t5g_message())) }
}

/// May be used from any thread; calls take turns.
public final class T5g: @unchecked Sendable {
    private var model: OpaquePointer?

    /// Two threads keep a phone cooler than all of its cores would, and are hardly slower: memory limits writing.
    public init(path: String, threads: Int32 = 2) throws {
        var options = t5g_model_options()
        try check(t5g_model_options_init(&options, MemoryLayout<t5g_model_options>.size))
        options.n_threads = threads
        try check(t5g_model_open(path, &options, &model))
    }

    deinit { t5g_model_free(model) }

    /// The text about a source, piece by piece; ending the loop ends the work.
    public func stream(_ source: String, maxNewTokens: Int32 = 256) -> AsyncThrowingStream<String, Error> {
        AsyncThrowingStream { continuation in
            let cancel = Cancel()
            Task.detached(priority: .userInitiated) { [self] in
                do {
                    try generate(source, maxNewTokens, cancel, continuation)
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error)
                }
            }
            continuation.onTermination = { reason in
                if case .cancelled = reason { t5g_cancel_request(cancel.handle) }
            }
        }
    }

    /// Lives until both the work and who may stop it have let go of it.
    private final class Cancel: @unchecked Sendable {
        var handle: OpaquePointer?
        init() { t5g_cancel_new(&handle) }
        deinit { t5g_cancel_free(handle) }
    }

    private func generate(
        _ text: String, _ maxNewTokens: Int32, _ cancel: Cancel,
        _ continuation: AsyncThrowingStream<String, Error>.Continuation
    ) throws {
        var reading = t5g_encode_options()
        try check(t5g_encode_options_init(&reading, MemoryLayout<t5g_encode_options>.size))
        reading.cancel = cancel.handle
        var source: OpaquePointer?
        defer { t5g_source_free(source) }
        try check(t5g_encode_text(model, text, text.utf8.count, &reading, &source))

        var writing = t5g_generate_options()
        try check(t5g_generate_options_init(model, &writing, MemoryLayout<t5g_generate_options>.size))
        writing.max_new_tokens = maxNewTokens
        writing.cancel = cancel.handle
        let box = Unmanaged.passRetained(Box(continuation))
        defer { box.release() }
        writing.user_data = box.toOpaque()
        writing.on_text = { user, _, text, size in
            let piece = String(decoding: UnsafeRawBufferPointer(start: text, count: size), as: UTF8.self)
            Unmanaged<Box>.fromOpaque(user!).takeUnretainedValue().continuation.yield(piece)
            return 0
        }
        var result: OpaquePointer?
        defer { t5g_result_free(result) }
        try check(t5g_generate(model, source, &writing, &result))
    }

    private final class Box {
        let continuation: AsyncThrowingStream<String, Error>.Continuation
        init(_ continuation: AsyncThrowingStream<String, Error>.Continuation) { self.continuation = continuation }
    }
}
