# SPDX-License-Identifier: Apache-2.0
"""Writes what baton_kv knows of libbaton, from baton.h itself: declarations.py HEADER MODULE CHECK

MODULE is the Python module of the declarations; cffi's ABI mode needs neither a compiler nor
Python's headers when it is built: Debian's python3-venv is enough, and a wheel is of no one version
of Python.
ABI mode computes sizes and offsets itself.  CHECK is a C source that holds each of them against
what the compiler says: where they differ the package does not build.
"""

import re
import sys

import cffi

# What a C compiler has from <stdint.h>, <stdbool.h> and <stddef.h>, cffi knows by itself.
NOT_DECLARATIONS = (
    re.compile(r"/\*.*?\*/", re.DOTALL),
    re.compile(r"^#ifdef __cplusplus\n.*?^#endif\n", re.DOTALL | re.MULTILINE),
    re.compile(r"^#.*\n", re.MULTILINE),
    re.compile(r"\bBATON_(?:API|MUST_USE)\b"),
)
# Of other values a macro can be a #define for cffi as it stands.
WATERMARK_END = "#define BATON_WATERMARK_END 18446744073709551615\n"


def declarations(header):
    for pattern in NOT_DECLARATIONS:
        header = pattern.sub("", header)
    return header + WATERMARK_END


def layout_check(ffi):
    """C source that compiles only where cffi and the compiler agree."""
    typedefs, structs, _ = ffi.list_types()
    for struct in structs:
        name = f"struct {struct}"
        if ffi.typeof(name).fields is None:
            continue
        yield f"sizeof({name}) == {ffi.sizeof(name)}"
        for field, place in ffi.typeof(name).fields:
            yield f"offsetof({name}, {field}) == {place.offset}"
            yield f"sizeof((({name} *)0)->{field}) == {ffi.sizeof(place.type)}"
    for typedef in typedefs:
        kind = ffi.typeof(typedef)
        if kind.kind == "enum":
            yield f"sizeof({typedef}) == {ffi.sizeof(typedef)}"
            for value, name in kind.elements.items():
                yield f"(long long){name} == {value}"
    yield "BATON_WATERMARK_END == 18446744073709551615u"


def main(header_path, module_path, check_path):
    ffi = cffi.FFI()
    with open(header_path, encoding="utf-8") as file:
        ffi.cdef(declarations(file.read()))
    ffi.set_source("baton_kv._declarations", None)
    ffi.emit_python_code(module_path)
    with open(check_path, "w", encoding="utf-8") as file:
        file.write("#include <baton.h>\n")
        for fact in layout_check(ffi):
            file.write(f'_Static_assert({fact}, "cffi and the compiler differ");\n')


main(*sys.argv[1:])
