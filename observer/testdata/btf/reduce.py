#!/usr/bin/env python3
"""Reduces a kernel's BTF to what `kernel/offsets.rs`, `kernel/tier/` and `kernel/uring.rs` ask of it.

    reduce.py /sys/kernel/btf/vmlinux 6.18.btf [struct.field...]

(The named fields are kept, too.) Run it again for each kernel when those files ask for more.

Keeps the structs, enumerators, functions and raw tracepoints that those files name, of structs only the members on the
way to a named field, at their offsets; what a pointer points to is void. Format: Documentation/bpf/btf.rst.
"""
import pathlib
import re
import struct
import sys

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, PROTO, VAR, DATASEC, FLOAT, \
    DECL_TAG, TYPE_TAG, ENUM64 = range(1, 20)
HELPERS = {"BPF_FUNC_get_current_task_btf", "BPF_FUNC_task_pt_regs"}

source = pathlib.Path(__file__).resolve().parents[2] / "src/kernel"
FILES = ("offsets.rs", "types/mod.rs", "features.rs", "hook.rs", "uring.rs", "tier/mod.rs", "tier/programs.rs", "tier/spares.rs")
text = "".join((source / file).read_text() for file in FILES)
text += "".join(f'"{path}"' for path in sys.argv[3:])
paths = {match.split(".")[0]: set() for match in re.findall(r'"(\w+(?:\.\w+)+)"', text)}
fields = set()
for match in re.findall(r'"(\w+(?:\.\w+)+)"', text):
    fields.update(match.split(".")[1:])
hooks = set(re.findall(r'(?:Tracepoint|Enter|EnterIf|Exit|ExitIf|Probe|ProbeIf|ProbeIfThere|ProbeReturn|ProbeReturnIf)\(\s*"(\w+)"', text))
hooks |= set(re.findall(r'has_(?:function|tracepoint)\("(\w+)"\)', text))

blob = pathlib.Path(sys.argv[1]).read_bytes()
magic, version, flags, header, type_at, type_len, string_at, string_len = struct.unpack_from("<HBBIIIII", blob)
strings = blob[header + string_at:header + string_at + string_len]


def name_of(offset):
    return strings[offset:strings.index(b"\0", offset)].decode()


types = [None]
at, end = header + type_at, header + type_at + type_len
while at < end:
    name, info, size = struct.unpack_from("<III", blob, at)
    at += 12
    kind, count, flag = info >> 24 & 31, info & 0xffff, info >> 31
    width, extra = {INT: ("<I", 1), ARRAY: ("<III", 1), STRUCT: ("<III", count), UNION: ("<III", count),
                    ENUM: ("<Ii", count), PROTO: ("<II", count), VAR: ("<I", 1), DATASEC: ("<III", count),
                    DECL_TAG: ("<i", 1), ENUM64: ("<III", count)}.get(kind, ("<", 0))
    rest = [struct.unpack_from(width, blob, at + index * struct.calcsize(width)) for index in range(extra)]
    at += extra * struct.calcsize(width)
    types.append((name_of(name), kind, flag, size, rest, width))

out_types, out_strings, known_strings, placed = [None], bytearray(b"\0"), {"": 0}, {0: 0}


def string(value):
    if value not in known_strings:
        known_strings[value] = len(out_strings)
        out_strings.extend(value.encode() + b"\0")
    return known_strings[value]


def place(index):
    if index in placed:
        return placed[index]
    name, kind, flag, size, rest, width = types[index]
    placed[index] = mine = len(out_types)
    out_types.append(None)
    if kind == PTR:
        size = 0
    elif kind == ARRAY:
        rest = [(place(rest[0][0]), place(rest[0][1]), rest[0][2])]
    elif kind in (STRUCT, UNION):
        kept = [m for m in rest if name_of(m[0]) in fields or not name_of(m[0])]
        rest = [(string(name_of(m[0])), place(m[1]), m[2]) for m in kept]
    elif kind == ENUM:
        kept = [v for v in rest if name != "bpf_func_id" or name_of(v[0]) in HELPERS]
        rest = [(string(name_of(v[0])), v[1]) for v in kept]
    elif kind == PROTO:
        rest = [(string(name_of(p[0])), place(p[1])) for p in rest]
        size = place(size)
    elif kind in (TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, TYPE_TAG):
        size = place(size)
    count = len(rest) if kind in (STRUCT, UNION, ENUM, PROTO) else 0
    head = struct.pack("<III", string(name), flag << 31 | kind << 24 | count, size)
    out_types[mine] = head + b"".join(struct.pack(width, *entry) for entry in rest)
    return mine


for index, entry in enumerate(types[1:], 1):
    name, kind = entry[0], entry[1]
    if kind == STRUCT and name in paths or kind == ENUM and name in ("iter_type", "bpf_func_id") \
            or kind == FUNC and name in hooks or kind == TYPEDEF and name.removeprefix("btf_trace_") in hooks:
        place(index)

body = b"".join(out_types[1:])
head = struct.pack("<HBBIIIII", 0xeb9f, 1, 0, 24, 0, len(body), len(body), len(out_strings))
pathlib.Path(sys.argv[2]).write_bytes(head + body + bytes(out_strings))
