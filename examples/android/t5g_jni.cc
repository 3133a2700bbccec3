// The C side of T5g.kt: JNI calls to libt5g. Thin on purpose: handles are longs, errors are exceptions with t5g's
// words.
#include <jni.h>
#include <t5g.h>

#include <string>

namespace {

void throw_failure(JNIEnv* env, t5g_status status) {
  const char* name = status == T5G_NOT_FOUND          ? "java/io/FileNotFoundException"
                     : status == T5G_IO_ERROR         ? "java/io/IOException"
                     : status == T5G_OUT_OF_MEMORY    ? "java/lang/OutOfMemoryError"
                     : status == T5G_INVALID_ARGUMENT ? "java/lang/IllegalArgumentException"
                                                      : "java/lang/IllegalStateException";
  if (const jclass type = env->FindClass(name)) env->ThrowNew(type, t5g_message());
}

template <class T>
T* handle(jlong value) {
  return reinterpret_cast<T*>(static_cast<intptr_t>(value));
}

// JNI's own UTF-8 is another one, so that texts pass as bytes.
std::string text(JNIEnv* env, jbyteArray bytes) {
  const jsize size = env->GetArrayLength(bytes);
  std::string copy(static_cast<size_t>(size), '\0');
  env->GetByteArrayRegion(bytes, 0, size, reinterpret_cast<jbyte*>(copy.data()));
  return copy;
}

jbyteArray bytes(JNIEnv* env, const char* data, size_t size) {
  const jbyteArray array = env->NewByteArray(static_cast<jsize>(size));
  if (array != nullptr)
    env->SetByteArrayRegion(array, 0, static_cast<jsize>(size), reinterpret_cast<const jbyte*>(data));
  return array;
}

// Who hears the text: a Kotlin object with fun onText(utf8: ByteArray): Boolean, which says whether to go on.
struct Listener {
  JNIEnv* env;
  jobject object;
  jmethodID on_text;
};

int32_t tell(void* user_data, size_t, const char* data, size_t size) {
  const auto& listener = *static_cast<Listener*>(user_data);
  const jbyteArray piece = bytes(listener.env, data, size);
  if (piece == nullptr) return 1;
  const jboolean goes_on = listener.env->CallBooleanMethod(listener.object, listener.on_text, piece);
  listener.env->DeleteLocalRef(piece);
  return listener.env->ExceptionCheck() || !goes_on;
}

}  // namespace

extern "C" {

// An asset that the package stores without compression: AssetFileDescriptor has its descriptor, offset and length.
JNIEXPORT jlong JNICALL Java_org_t5g_T5g_open(JNIEnv* env, jclass, jint fd, jlong offset, jlong size, jint n_threads) {
  t5g_model_options options;
  t5g_model* model = nullptr;
  t5g_status status = t5g_model_options_init(&options, sizeof options);
  options.n_threads = n_threads;
  if (status == T5G_OK)
    status = t5g_model_open_fd(fd, static_cast<uint64_t>(offset), static_cast<uint64_t>(size), "the model", &options,
                               &model);
  if (status != T5G_OK) throw_failure(env, status);
  return static_cast<jlong>(reinterpret_cast<intptr_t>(model));
}

JNIEXPORT void JNICALL Java_org_t5g_T5g_free(JNIEnv*, jclass, jlong model) { t5g_model_free(handle<t5g_model>(model)); }

JNIEXPORT jlong JNICALL Java_org_t5g_T5g_newCancel(JNIEnv* env, jclass) {
  t5g_cancel* cancel = nullptr;
  if (const t5g_status status = t5g_cancel_new(&cancel); status != T5G_OK) throw_failure(env, status);
  return static_cast<jlong>(reinterpret_cast<intptr_t>(cancel));
}

JNIEXPORT void JNICALL Java_org_t5g_T5g_cancel(JNIEnv*, jclass, jlong cancel) {
  t5g_cancel_request(handle<t5g_cancel>(cancel));
}

JNIEXPORT void JNICALL Java_org_t5g_T5g_freeCancel(JNIEnv*, jclass, jlong cancel) {
  t5g_cancel_free(handle<t5g_cancel>(cancel));
}

JNIEXPORT jbyteArray JNICALL Java_org_t5g_T5g_generate(JNIEnv* env, jclass, jlong model, jbyteArray utf8,
                                                       jint max_new_tokens, jlong cancel, jobject object) {
  const std::string given = text(env, utf8);
  t5g_encode_options reading;
  t5g_generate_options writing;
  t5g_source* source = nullptr;
  t5g_result* result = nullptr;
  t5g_sequence best{};
  best.struct_size = sizeof best;
  Listener listener{env, object, nullptr};
  if (object != nullptr) listener.on_text = env->GetMethodID(env->GetObjectClass(object), "onText", "([B)Z");
  if (env->ExceptionCheck()) return nullptr;

  t5g_status status = t5g_encode_options_init(&reading, sizeof reading);
  reading.cancel = handle<t5g_cancel>(cancel);
  if (status == T5G_OK)
    status = t5g_encode_text(handle<t5g_model>(model), given.data(), given.size(), &reading, &source);
  if (status == T5G_OK) status = t5g_generate_options_init(handle<t5g_model>(model), &writing, sizeof writing);
  if (status == T5G_OK) {
    writing.max_new_tokens = max_new_tokens;
    writing.cancel = handle<t5g_cancel>(cancel);
    writing.on_text = object != nullptr ? tell : nullptr;
    writing.user_data = &listener;
    status = t5g_generate(handle<t5g_model>(model), source, &writing, &result);
  }
  if (status == T5G_OK) status = t5g_result_get_sequence(result, 0, &best);
  jbyteArray answer = nullptr;
  if (status != T5G_OK) {
    throw_failure(env, status);
  } else if (!env->ExceptionCheck()) {
    answer = bytes(env, best.text, best.text_size);
  }
  t5g_result_free(result);
  t5g_source_free(source);
  return answer;
}

}  // extern "C"
