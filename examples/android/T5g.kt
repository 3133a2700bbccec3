// t5g for Kotlin: one model, opened from an asset, asked from a background thread.
//
//     val model = T5g.fromAsset(context.assets, "model.gguf")
//     val summary = withContext(Dispatchers.Default) { model.generate(text) { piece -> show(piece); true } }
package org.t5g

import android.content.res.AssetManager
import java.io.Closeable

/** Hears the text while it is written. Give false to stop. */
fun interface TextListener {
    fun onText(utf8: ByteArray): Boolean
}

class T5g private constructor(private var model: Long) : Closeable {

    /** Writes about a text. Takes seconds: never call it on the main thread. */
    fun generate(text: String, maxNewTokens: Int = 256, cancel: Cancel? = null, onPiece: ((String) -> Boolean)? = null): String {
        val listener = onPiece?.let { tell -> TextListener { utf8 -> tell(String(utf8, Charsets.UTF_8)) } }
        return String(generate(model, text.toByteArray(Charsets.UTF_8), maxNewTokens, cancel?.handle ?: 0, listener), Charsets.UTF_8)
    }

    override fun close() {
        free(model)
        model = 0
    }

    /** A wish to stop, from any thread. */
    class Cancel : Closeable {
        internal var handle: Long = newCancel()
        fun request() = cancel(handle)
        override fun close() {
            freeCancel(handle)
            handle = 0
        }
    }

    companion object {
        init {
            System.loadLibrary("t5g_jni")
        }

        /**
         * Opens an asset where it lies in the package, without copying it: build.gradle says
         * `androidResources { noCompress += "gguf" }`. Two threads keep a phone cooler than all of its cores would, and
         * are hardly slower, as the memory is what limits writing.
         */
        fun fromAsset(assets: AssetManager, name: String, threads: Int = 2): T5g =
            assets.openFd(name).use { T5g(open(it.parcelFileDescriptor.fd, it.startOffset, it.length, threads)) }

        @JvmStatic private external fun open(fd: Int, offset: Long, size: Long, threads: Int): Long
        @JvmStatic private external fun free(model: Long)
        @JvmStatic private external fun newCancel(): Long
        @JvmStatic private external fun cancel(cancel: Long)
        @JvmStatic private external fun freeCancel(cancel: Long)
        @JvmStatic private external fun generate(
            model: Long, utf8: ByteArray, maxNewTokens: Int, cancel: Long, listener: TextListener?,
        ): ByteArray
    }
}
