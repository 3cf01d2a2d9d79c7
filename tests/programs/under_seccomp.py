"""Runs a command under a seccomp filter like that of container builds: under_seccomp.py COMMAND...

As container engines' filters do, it refuses (EPERM) what administers the machine or traces, and every system call that it has
never heard of. Among these are two by which kernels since 6.11 implement return probes and some breakpoints; newer kernels let
these pass whatever a filter says.
"""

import ctypes
import os
import struct
import sys

# x86-64: ptrace pivot_root acct mount umount2 swapon swapoff reboot init_module delete_module kexec_load add_key
# request_key keyctl unshare perf_event_open setns finit_module bpf userfaultfd.
REFUSED = [101, 155, 163, 165, 166, 167, 168, 169, 175, 176, 246, 248, 249, 250, 272, 298, 308, 313, 321, 323]
# The gap between the old numbers and the new ones (uretprobe and uprobe are in it), and what came after this was written.
KNOWN, NEW, NEWEST = 334, 424, 462
LOAD, ABOVE, EQUAL, ANSWER = 0x20, 0x25, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050001

code = [
    (LOAD, 0, 0, 0),
    (ABOVE, 0, 1, NEWEST),
    (ANSWER, 0, 0, REFUSE),
    (ABOVE, 2, 0, NEW - 1),
    (ABOVE, 0, 1, KNOWN),
    (ANSWER, 0, 0, REFUSE),
]
for number in REFUSED:
    code += [(EQUAL, 0, 1, number), (ANSWER, 0, 0, REFUSE)]
code.append((ANSWER, 0, 0, ALLOW))
packed = b"".join(struct.pack("=HBBI", *one) for one in code)
buffer = ctypes.create_string_buffer(packed, len(packed))
program = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
for arguments in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, MODE_FILTER, program, 0, 0)]:
    if libc.prctl(*arguments) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
# EPERM, where ENOSYS were without it.
assert libc.syscall(999) == -1 and ctypes.get_errno() == 1, "the filter is not in force"
os.execvp(sys.argv[1], sys.argv[1:])
