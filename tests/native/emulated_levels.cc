// AMX without AMX: its kernels over an emulated tile unit, and its instructions done by a handler of SIGILL.
#include "emulated_levels.h"

#include "amx_emulator.h"
#include "base/cpu_features.h"
#include "kernels/cpu/levels.h"

#define T5G_VECTORS "kernels/cpu/generic/vectors.h"
#define T5G_DOT "kernels/cpu/generic/dot.h"
#define T5G_PAIRS "kernels/cpu/common/pairs.h"
#include "kernels/cpu/x86/tile_unit.h"

#if defined(__x86_64__) && defined(__linux__)
#include <ucontext.h>

#include <csignal>
#endif

namespace {

AmxEmulator emulator;

struct EmulatedTiles {
  static void configure(const t5g::kernels::TileConfig& config) { emulator.configure(&config); }
  static void release() { emulator.release(); }
  template <int kTile>
  static void zero() {
    emulator.zero(kTile);
  }
  template <int kTile>
  static void load(const void* from, int64_t stride) {
    emulator.load(kTile, static_cast<const std::byte*>(from), stride);
  }
  template <int kTile>
  static void store(void* to, int64_t stride) {
    emulator.store(kTile, static_cast<std::byte*>(to), stride);
  }
  template <int kSum, int kA, int kB>
  static void multiply_add() {
    emulator.multiply_add(kSum, kA, kB);
  }
};

#if defined(__x86_64__) && defined(__linux__)

// A VEX-coded instruction of the map 0F38: C4, inverted R X B, W vvvv L pp, opcode, ModRM, then SIB and displacement.
class Instruction {
 public:
  Instruction(const uint8_t* code, const greg_t* registers) : code_(code), registers_(registers) {}

  bool is_amx() const { return code_[0] == 0xc4 && (code_[1] & 0x1f) == 2 && (code_[2] & 0x84) == 0; }
  int opcode() const { return code_[3]; }
  int prefix() const { return code_[2] & 3; }
  bool of_memory() const { return mod() != 3; }
  int reg() const { return code_[4] >> 3 & 7; }
  int rm() const { return code_[4] & 7; }
  int vvvv() const { return ~code_[2] >> 3 & 15; }
  std::byte* base() const {
    const int number = rm() == 4 ? (code_[5] & 7) : rm();
    int32_t displacement = 0;
    const uint8_t* at = code_ + (rm() == 4 ? 6 : 5);
    if (mod() == 1) displacement = static_cast<int8_t>(*at);
    if (mod() == 2) std::memcpy(&displacement, at, sizeof displacement);
    return reinterpret_cast<std::byte*>(value(number, 0x20)) + displacement;
  }
  int64_t stride() const { return value(code_[5] >> 3 & 7, 0x40) << (code_[5] >> 6); }
  int length() const { return of_memory() ? 5 + (rm() == 4 ? 1 : 0) + (mod() == 1 ? 1 : mod() == 2 ? 4 : 0) : 5; }
  // Forms that are not decoded: no base register, or none relative to the instruction.
  bool is_absolute() const { return mod() == 0 && (rm() == 5 || (rm() == 4 && (code_[5] & 7) == 5)); }

 private:
  int mod() const { return code_[4] >> 6; }
  int64_t value(int number, int extension) const {
    static constexpr int kByNumber[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                          REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return registers_[kByNumber[number | ((code_[1] & extension) == 0 ? 8 : 0)]];
  }

  const uint8_t* code_;
  const greg_t* registers_;
};

bool execute(const Instruction& in) {
  if (!in.is_amx() || (in.of_memory() && in.is_absolute())) return false;
  const int what = in.opcode() << 4 | in.prefix();
  if (what == 0x490 && in.of_memory()) {
    emulator.configure(in.base());
  } else if (what == 0x490) {
    emulator.release();
  } else if (what == 0x493 && !in.of_memory()) {
    emulator.zero(in.reg());
  } else if (what == 0x4b3 && in.of_memory()) {
    emulator.load(in.reg(), in.base(), in.stride());
  } else if (what == 0x4b2 && in.of_memory()) {
    emulator.store(in.reg(), in.base(), in.stride());
  } else if (what == 0x5e3 && !in.of_memory()) {
    emulator.multiply_add(in.reg(), in.rm(), in.vvvv());
  } else {
    return false;
  }
  return true;
}

void on_illegal_instruction(int, siginfo_t*, void* context) {
  greg_t* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const Instruction instruction(reinterpret_cast<const uint8_t*>(registers[REG_RIP]), registers);
  if (execute(instruction)) {
    registers[REG_RIP] += instruction.length();
  } else {
    std::signal(SIGILL, SIG_DFL);  // it is run again, and ends the program
  }
}

#endif

}  // namespace

t5g::kernels::KernelTable portable_tiles() {
  using namespace t5g::kernels;
  KernelTable table = kGenericLevel;
  table.matmul = table_of_many<TileUnit<EmulatedTiles>, kGenericLevel>("", 0).matmul;
  for (size_t type = 0; type < table.matmul.size(); ++type) {
    if (table.matmul[type] == nullptr) table.matmul[type] = kGenericLevel.matmul[type];
  }
  table.name = "amx_int8 on portable vectors";
  return table;
}

bool emulate(const t5g::kernels::KernelTable& table) {
#if defined(__x86_64__) && defined(__linux__)
  const uint64_t lacking = table.required_features & ~t5g::cpu_features();
  if (lacking != t5g::kCpuAmxInt8) return false;
  struct sigaction action = {};
  action.sa_sigaction = on_illegal_instruction;
  action.sa_flags = SA_SIGINFO;
  return sigaction(SIGILL, &action, nullptr) == 0;
#else
  static_cast<void>(table);
  return false;
#endif
}

const char* emulation_fault() { return emulator.fault(); }
long emulated_instructions() { return emulator.count(); }
