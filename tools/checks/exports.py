"""Which symbols a library exports and wants, whatever system it is for: ELF, PE (Windows) and Mach-O (macOS, iOS).

python tools/checks/exports.py LIBRARY ...: fails unless each exports exactly the functions of t5g.h.
"""

from __future__ import annotations

import re
import struct
import sys
from pathlib import Path

HEADER = Path(__file__).resolve().parents[2] / "csrc" / "capi" / "t5g.h"


def text_at(data: bytes, offset: int) -> str:
    """The text that ends with the next zero byte."""
    return data[offset : data.index(b"\0", offset)].decode()


def elf_sections(data: bytes) -> list[tuple[int, ...]]:
    """The section headers, each as the fields of Elf64_Shdr."""
    offset, size, count = *struct.unpack_from("<Q", data, 40), *struct.unpack_from("<HH", data, 58)
    return [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size) for i in range(count)]


def dynamic_symbols(data: bytes) -> tuple[set[str], set[str]]:
    """Names in the dynamic symbol table of an ELF file that are not local: defined ones, and those that it wants."""
    sections = elf_sections(data)
    defined, wanted = set(), set()
    for section in sections:
        if section[1] != 11:  # SHT_DYNSYM
            continue
        names = sections[section[6]][4]
        for at in range(section[4], section[4] + section[5], 24):
            name, info, _, index = struct.unpack_from("<IBBH", data, at)
            if info >> 4 != 0:
                (wanted if index == 0 else defined).add(text_at(data, names + name))
    return defined, wanted


def of_elf(data: bytes) -> set[str]:
    """Names in the dynamic symbol table that are defined and not local."""
    return dynamic_symbols(data)[0]


def versions_wanted(data: bytes) -> set[str]:
    """Versions of other libraries' symbols that an ELF file wants, such as GLIBC_2.17."""
    sections = elf_sections(data)
    found = set()
    for section in sections:
        if section[1] != 0x6FFFFFFE:  # SHT_GNU_verneed
            continue
        names, need = sections[section[6]][4], section[4]
        for _ in range(section[7]):
            _, n_versions, _, first, following = struct.unpack_from("<HHIII", data, need)
            at = need + first
            for _ in range(n_versions):
                _, _, _, name, step = struct.unpack_from("<IHHII", data, at)
                found.add(text_at(data, names + name))
                at += step
            need += following
    return found


def glibc_faults(path: Path, newest: tuple[int, int]) -> list[str]:
    """What a program or library wants of a glibc that is newer."""
    found = sorted(versions_wanted(path.read_bytes()))
    numbers = {v: tuple(map(int, v.partition("_")[2].split("."))) for v in found if re.fullmatch(r"GLIBC_[0-9.]+", v)}
    return [f"{path.name} wants {version}" for version, number in numbers.items() if number > newest]


def of_pe(data: bytes) -> set[str]:
    """Names in the export directory."""
    pe = struct.unpack_from("<I", data, 60)[0]
    n_sections, optional_size = struct.unpack_from("<H", data, pe + 6)[0], struct.unpack_from("<H", data, pe + 20)[0]
    sections = [struct.unpack_from("<IIII", data, pe + 24 + optional_size + 40 * i + 8) for i in range(n_sections)]

    def place(address: int) -> int:
        for size, start, raw_size, raw in sections:
            if start <= address < start + max(size, raw_size):
                return address - start + raw
        raise ValueError(f"no section has the address {address:#x}")

    directory = struct.unpack_from("<I", data, pe + 24 + 112)[0]
    if directory == 0:
        return set()
    n_names, _, names = struct.unpack_from("<III", data, place(directory) + 24)
    return {text_at(data, place(struct.unpack_from("<I", data, place(names) + 4 * i)[0])) for i in range(n_names)}


def of_macho(data: bytes) -> set[str]:
    """Defined external names of the symbol table, private ones left out, without their underscore."""
    n_commands = struct.unpack_from("<I", data, 16)[0]
    at, found = 32, set()
    for _ in range(n_commands):
        command, size = struct.unpack_from("<II", data, at)
        if command == 2:  # LC_SYMTAB
            symbols, count, names, _ = struct.unpack_from("<IIII", data, at + 8)
            for i in range(count):
                name, kind, _, _, _ = struct.unpack_from("<IBBHQ", data, symbols + 16 * i)
                is_debug, is_private, is_external = kind & 0xE0, kind & 0x10, kind & 0x01
                if is_external and not is_debug and not is_private and kind & 0x0E == 0x0E:
                    found.add(text_at(data, names + name).removeprefix("_"))
        at += size
    return found


def members(data: bytes) -> list[bytes]:
    """The files in a static library."""
    at, found = 8, []
    while at + 60 <= len(data):
        name, size = data[at : at + 16].decode().strip(), int(data[at + 48 : at + 58])
        skipped = int(name[3:]) if name.startswith("#1/") else 0  # BSD's long names lie before the content
        found.append(data[at + 60 + skipped : at + 60 + size])
        at += 60 + size + size % 2
    return found


def exports_of_archive(path: Path) -> set[str]:
    """Names that the Mach-O files in a static library give to the program that links it."""
    files = [data for data in members(path.read_bytes()) if data[:4] == b"\xcf\xfa\xed\xfe"]
    return {name for data in files for name in of_macho(data)}


def exports(path: Path) -> set[str]:
    """The exported names of a library."""
    data = path.read_bytes()
    if data[:4] == b"\x7fELF":
        return of_elf(data)
    return of_pe(data) if data[:2] == b"MZ" else of_macho(data)


def functions() -> set[str]:
    """Those that the header declares."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(encoding="utf-8"), flags=re.DOTALL)
    return set(re.findall(r"T5G_API[^;]*?\b(t5g_\w+)\(", text))


def faults(path: Path) -> list[str]:
    """What a library exports too much and too little."""
    found, expected = exports(path), functions()
    lacks = [f"{path.name} does not export {name}" for name in sorted(expected - found)]
    return lacks + [f"{path.name} exports {name}" for name in sorted(found - expected)[:20]]


def main() -> int:
    """Look at each library."""
    found = [fault for name in sys.argv[1:] for fault in faults(Path(name))]
    print("\n".join(found) or f"{len(functions())} functions each, and nothing else")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
