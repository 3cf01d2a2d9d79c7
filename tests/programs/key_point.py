"""Stops a process at a place in one of its files, and says which secret passes there each time.

Arguments: the process, the file, the offset in it, and the registers with the label, its length ("-": it ends with a NUL),
the secret and its length. Says "ready" when the place is armed, then a line per stop: label and secret in hex. A debugger
like any other (ptrace(2)), so it needs nothing of the kernel's tracing. It ends with its input, and leaves the process as it
was.
"""

import ctypes
import os
import re
import signal
import sys
import threading
import time

CONT, SINGLESTEP, GETREGS, SETREGS, SEIZE = 7, 9, 12, 13, 0x4206
TRACE_CLONE = 8
WALL = 0x40000000
REGISTERS = (
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs"
).split()

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in REGISTERS]


def ptrace(request, thread, data=0):
    if libc.ptrace(request, thread, None, data) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x} of {thread}")


def address_of(pid, file, offset):
    """Where the offset is in the process's memory."""
    number = os.stat(file).st_ino
    for line in open(f"/proc/{pid}/maps"):
        found = re.match(r"(\w+)-(\w+) ..x. (\w+) \S+ (\d+)", line)
        if found and int(found[4]) == number:
            start, end, begins = (int(found[index], 16) for index in (1, 2, 3))
            if begins <= offset < begins + end - start:
                return start + offset - begins
    raise SystemExit(f"{file} is not mapped there by {pid}")


def main():
    pid, file, offset = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    label_at, label_length, secret_at, secret_length = sys.argv[4:8]
    place = address_of(pid, file, offset)
    memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)
    own = os.pread(memory, 1, place)
    for thread in map(int, os.listdir(f"/proc/{pid}/task")):
        ptrace(SEIZE, thread, TRACE_CLONE)

    def told(registers):
        value = lambda name: getattr(registers, name)
        if label_length == "-":
            label = os.pread(memory, 64, value(label_at)).split(b"\0")[0]
        else:
            label = os.pread(memory, min(value(label_length), 64), value(label_at))
        secret = os.pread(memory, min(value(secret_length), 64), value(secret_at))
        print(label.decode("ascii", "replace"), secret.hex(), flush=True)

    os.pwrite(memory, b"\xcc", place)
    print("ready", flush=True)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    registers = Registers()
    while not ended.is_set():
        try:
            thread, status = os.waitpid(-1, WALL | os.WNOHANG)
        except ChildProcessError:
            return  # All of it has ended.
        if thread == 0:
            time.sleep(0.002)
            continue
        if not os.WIFSTOPPED(status):
            continue
        stopped, event = os.WSTOPSIG(status), status >> 16
        if stopped != signal.SIGTRAP or event:
            # A new thread, or a signal that it gets.
            ptrace(CONT, thread, 0 if event or stopped == signal.SIGSTOP else stopped)
            continue
        ptrace(GETREGS, thread, ctypes.addressof(registers))
        if registers.rip != place + 1:
            ptrace(CONT, thread, stopped)
            continue
        told(registers)
        registers.rip = place
        ptrace(SETREGS, thread, ctypes.addressof(registers))
        os.pwrite(memory, own, place)
        ptrace(SINGLESTEP, thread)
        os.waitpid(thread, WALL)
        os.pwrite(memory, b"\xcc", place)
        ptrace(CONT, thread)
    # The kernel lets go of all threads, which go on, when this ends.
    os.pwrite(memory, own, place)


main()
