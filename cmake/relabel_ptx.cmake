# cmake -DFILE=x.ptx -P relabel_ptx.cmake: makes PTX that a new compiler wrote readable for drivers that are older than it.
# They refuse the version that it says, though nothing in it but a hint is newer than 7.4.
file(READ ${FILE} text)
string(REGEX REPLACE "\n[.]version [0-9.]+" "\n.version 7.4" text "${text}")
string(REGEX REPLACE "\n[ \t]*[.]pragma \"used_bytes_mask[^\n]*" "" text "${text}")
file(WRITE ${FILE} "${text}")
