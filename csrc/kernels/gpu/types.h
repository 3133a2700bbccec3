// The words for memory and numbers that arguments of kernels are written in, the same for every target (see prelude.h).
#pragma once

#if defined(__CUDACC__)
#define GLOBAL
#define SHARED
#define CONSTANT const
#define PRIVATE
#define CONSTEXPR constexpr
#elif defined(__METAL_VERSION__)
#include <metal_stdlib>
#define GLOBAL device
#define SHARED threadgroup
#define CONSTANT constant
#define PRIVATE thread
#define CONSTEXPR constant constexpr
#else
#include <cstdint>
#define GLOBAL
#define SHARED
#define CONSTANT const
#define PRIVATE
#define CONSTEXPR inline constexpr
#endif

namespace t5g {
namespace gpu {

#if defined(__CUDACC__)
typedef signed char i8;
typedef unsigned char u8;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef unsigned long long u64;
#elif defined(__METAL_VERSION__)
typedef char i8;
typedef uchar u8;
typedef ushort u16;
typedef int i32;
typedef uint u32;
typedef ulong u64;
#else
typedef int8_t i8;
typedef uint8_t u8;
typedef uint16_t u16;
typedef int32_t i32;
typedef uint32_t u32;
typedef uint64_t u64;
#endif
typedef float f32;

}  // namespace gpu
}  // namespace t5g
