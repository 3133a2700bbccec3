// Levels of instructions that this CPU lacks, made to run here.
#pragma once

#include "kernels/cpu/kernels.h"

// The level amx_int8 compiled for any CPU: portable vectors, and tiles that AmxEmulator stands for.
t5g::kernels::KernelTable portable_tiles();

// From here on, instructions that only this level has are done by an emulator when the CPU refuses them. False when
// that cannot be: another level, another operating system, or a CPU that lacks more.
bool emulate(const t5g::kernels::KernelTable& table);

// What the emulated instructions would have faulted on, or null; and how many there were.
const char* emulation_fault();
long emulated_instructions();
