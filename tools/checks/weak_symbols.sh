#!/usr/bin/env bash
# Fails when an object of one instruction set defines a weak symbol or uses the C++ library.
#
# A weak symbol is an inline function or template that the compiler emitted here, for this instruction set; the linker may
# keep this copy for the whole program, which then crashes on CPUs without the instructions.
#
#   tools/checks/weak_symbols.sh build/release        NM names another nm (aarch64-linux-gnu-nm)
set -euo pipefail

NM=${NM:-nm}
mapfile -t objects < <(find "$1" -path '*/t5g_kernels.dir/x86/*.o' -o -path '*/t5g_kernels.dir/arm/*.o' | sort)
if [ ${#objects[@]} -eq 0 ]; then
  echo "$1: no objects of csrc/kernels/cpu/x86 or arm. Build first." >&2
  exit 1
fi
bad=0
for object in "${objects[@]}"; do
  # V, W, u: weak or unique definitions (v, w are mere references to weak symbols, and as bad).
  # Undefined: names in namespace std, and the run-time of exceptions and new.
  found=$("$NM" --no-demangle "$object" | awk '
    $(NF-1) ~ /^[VvWwu]$/ { print "  weak: " $NF }
    $(NF-1) == "U" && $NF ~ /^(_ZNK?St|_ZSt|_ZNK?9__gnu_cxx|__cxa_|__gxx_|_Unwind|_Zn[aw]|_Zd[al])/ { print "  library: " $NF }' | c++filt)
  if [ -n "$found" ]; then
    bad=1
    printf '%s\n%s\n' "$object" "$found"
  fi
done
[ $bad -eq 0 ] && echo "${#objects[@]} objects of one instruction set: no weak symbol, no C++ library."
exit $bad
