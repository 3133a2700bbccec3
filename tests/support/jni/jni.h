// As much of jni.h as examples/android uses, so that it can be compiled without a JDK or NDK.
#pragma once

#include <cstdint>

#define JNIEXPORT __attribute__((visibility("default")))
#define JNICALL

using jint = int32_t;
using jlong = int64_t;
using jsize = int32_t;
using jbyte = int8_t;
using jboolean = uint8_t;
struct _jobject {};
struct _jclass : _jobject {};
struct _jbyteArray : _jobject {};
using jobject = _jobject*;
using jclass = _jclass*;
using jbyteArray = _jbyteArray*;
using jmethodID = struct _jmethodID*;

struct JNIEnv {
  jclass FindClass(const char* name);
  jint ThrowNew(jclass type, const char* message);
  jsize GetArrayLength(_jobject* array);
  void GetByteArrayRegion(jbyteArray array, jsize start, jsize size, jbyte* out);
  void SetByteArrayRegion(jbyteArray array, jsize start, jsize size, const jbyte* from);
  jbyteArray NewByteArray(jsize size);
  jboolean CallBooleanMethod(jobject object, jmethodID method, ...);
  void DeleteLocalRef(jobject object);
  jboolean ExceptionCheck();
  jclass GetObjectClass(jobject object);
  jmethodID GetMethodID(jclass type, const char* name, const char* signature);
};
