"""What a script may try to get out of its container: each a program that says `broke out` where it worked."""

from __future__ import annotations

from dataclasses import dataclass

BROKE_OUT = "broke out"
TRIED = "tried"

# What the programs share. Nothing here changes anything where it works but what is said: they are run without a
# container's limits, too, to see that they would.
PRELUDE = """
import ctypes, glob, os, platform, socket, stat, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"

def syscall(x86, arm, *args):
    if libc.syscall(x86 if X86 else arm, *args) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def libcall(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), "refused")

def broke_out(what):
    print("broke out:", what)

def attempt(what, work, *args):
    try:
        work(*args)
    except (OSError, ValueError):
        return
    broke_out(what)

def write(path, text=None):
    # Without a text the file is only opened: some act on whatever is written to them.
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    if text is not None:
        os.write(descriptor, text.encode())
    os.close(descriptor)

def read_any(path):
    with open(path, "rb") as file:
        if not file.read(1):
            raise OSError("empty")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """`open_with` are arguments of `docker run` with which it works; None where that would harm the machine."""

    program: str
    open_with: tuple[str, ...] | None = None


ROOT = ("--user", "0")
# Not ALL: a machine may lack some itself.
RIGHTS = ("SYS_ADMIN", "SYS_NICE", "SYS_TIME", "SYSLOG", "NET_ADMIN", "SYS_PTRACE")
MIGHTY = (
    *ROOT,
    *(f"--cap-add={right}" for right in RIGHTS),
    *("--security-opt=seccomp=unconfined", "--security-opt=systempaths=unconfined"),
)
ATTACKS: dict[str, Attack] = {
    "Write to the image's files": Attack(
        program="""
for place in ("/", "/etc", "/usr/bin", "/var/tmp", "/root", "/home"):
    attempt(place, lambda: os.mkdir(f"{place}/new"))
""",
        open_with=ROOT,
    ),
    "Write to the files it is given": Attack(
        program="""
for place in ("/cronium", "/run/cronium", "/packages"):
    attempt(place, lambda: os.mkdir(f"{place}/new"))
    attempt(place, os.chmod, place, 0o777)
    attempt(place, os.rename, place, f"{place}.old")
"""
    ),
    "Make its file systems writable": Attack(
        program="""
for place in (b"/", b"/cronium", b"/run/cronium", b"/proc/sys"):
    attempt(place, libcall, "mount", None, place, None, 32 | 4096, None)  # MS_REMOUNT | MS_BIND
""",
        open_with=(*MIGHTY, "--read-only"),
    ),
    "Mount something": Attack(
        program="""
os.makedirs("/tmp/place", exist_ok=True)
for kind in (b"tmpfs", b"proc", b"sysfs", b"cgroup", b"overlay"):
    attempt(kind, libcall, "mount", b"none", b"/tmp/place", kind, 0, None)
attempt("bind", libcall, "mount", b"/etc", b"/tmp/place", None, 4096, None)
attempt("open_tree", syscall, 428, 428, -100, b"/", 1)
attempt("fsopen", syscall, 430, 430, b"tmpfs", 0)
""",
        open_with=MIGHTY,
    ),
    "Change its root": Attack(
        program="""
attempt("chroot", os.chroot, "/tmp")
os.chdir("/")
attempt("pivot_root", syscall, 155, 41, b".", b".")
""",
        open_with=ROOT,
    ),
    "Become root": Attack(
        program="""
attempt("setuid", os.setuid, 0)
attempt("setgid", os.setgid, 0)
attempt("setgroups", os.setgroups, [0])
attempt("chown", lambda: (open("/tmp/mine", "w").close(), os.chown("/tmp/mine", 0, 0)))
""",
        open_with=ROOT,
    ),
    "Use a setuid program": Attack(
        program="""
found = [os.path.join(place, name) for place in ("/bin", "/usr/bin", "/usr/sbin") for name in os.listdir(place)
         if os.stat(os.path.join(place, name)).st_mode & stat.S_ISUID]
assert found, "the image has none: this shows nothing"
for program in found:
    child = subprocess.Popen([program], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with open(f"/proc/{child.pid}/status") as status:
            if any(line.split()[1:3] != ["65534", "65534"] for line in status if line.startswith("Uid:")):
                broke_out(program)
    except OSError:
        pass
    child.kill()
    child.wait()
if "NoNewPrivs:\\t1" not in open("/proc/self/status").read():
    broke_out("new privileges are to be had")
""",
        open_with=("--user", "65534"),
    ),
    "Take capabilities": Attack(
        program="""
for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
    for line in open("/proc/self/status"):
        if line.startswith(name) and int(line.split()[1], 16):
            broke_out(line)
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(*[0xFFFFFFFF] * 6)
attempt("capset", libcall, "capset", header, data)
""",
        open_with=ROOT,
    ),
    "Make a user namespace of its own": Attack(
        program="""
attempt("unshare", libcall, "unshare", 0x10000000)
for flag in (0x00020000, 0x20000000, 0x40000000, 0x02000000, 0x04000000, 0x08000000):
    attempt(f"unshare {flag:x}", libcall, "unshare", flag)
attempt("setns", lambda: libcall("setns", os.open("/proc/1/ns/mnt", os.O_RDONLY), 0))
""",
        open_with=MIGHTY,
    ),
    "Make a device file": Attack(
        program="""
attempt("the disk", os.mknod, "/tmp/disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0))
attempt("memory", os.mknod, "/tmp/mem", 0o600 | stat.S_IFCHR, os.makedev(1, 1))
""",
        open_with=ROOT,
    ),
    "Use a device of the machine": Attack(
        program="""
usual = {"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"}
for place, _, names in os.walk("/dev"):
    for name in names:
        found = os.lstat(os.path.join(place, name))
        if stat.S_ISBLK(found.st_mode) or (stat.S_ISCHR(found.st_mode) and place == "/dev" and name not in usual):
            broke_out(os.path.join(place, name))
for name in ("mem", "kmem", "port", "kmsg", "kvm", "fuse", "vsock", "net/tun"):
    attempt(name, lambda: os.close(os.open(f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK)))
""",
        open_with=(*MIGHTY, "--device", "/dev/kmsg"),
    ),
    "Change the kernel's settings": Attack(
        program="""
for name in ("vm/swappiness", "kernel/panic", "net/ipv4/ip_forward", "fs/file-max", "kernel/pid_max"):
    path = f"/proc/sys/{name}"
    if os.path.exists(path):
        attempt(path, lambda: write(path, open(path).read()))
""",
        open_with=MIGHTY,
    ),
    "Have the machine run a program (core_pattern, uevent_helper, release_agent)": Attack(
        program="""
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug",
             "/sys/kernel/uevent_helper", *glob.glob("/sys/fs/cgroup/**/release_agent", recursive=True),
             *glob.glob("/proc/sys/fs/binfmt_misc/register")):
    attempt(path, write, path)
""",
        open_with=MIGHTY,
    ),
    "Restart or stop the machine": Attack(
        program="""
attempt("sysrq", write, "/proc/sysrq-trigger")
attempt("reboot", syscall, 169, 142, 0xFEE1DEAD, 672274793, 0, None)  # only: forget Ctrl-Alt-Del
attempt("kexec", syscall, 246, 104, 0, 0, None, 0)
"""
    ),
    "Load a kernel module": Attack(
        program="""
attempt("init_module", syscall, 175, 105, b"", 0, b"")
attempt("finit_module", syscall, 313, 273, 0, b"", 0)
attempt("delete_module", syscall, 176, 106, b"cronium_none", 0)
""",
    ),
    "Read the kernel's memory and log": Attack(
        program="""
for path in ("/proc/kcore", "/proc/kmsg", "/dev/mem", "/dev/kmsg", "/proc/timer_list", "/proc/sched_debug"):
    attempt(path, read_any, path)
attempt("syslog", syscall, 103, 116, 10, None, 0)
for place in ("/sys/firmware", "/proc/acpi", "/proc/scsi"):
    attempt(place, lambda: os.listdir(place)[0] if os.path.isdir(place) and os.listdir(place) else os.stat(""))
""",
    ),
    "Use the kernel's keys": Attack(
        program="""
attempt("add_key", syscall, 248, 217, b"user", b"cronium", b"x", 1, -3)
attempt("keyctl", syscall, 250, 219, 0, -3, 1)
attempt("keys", read_any, "/proc/keys")
""",
    ),
    "Use what the kernel keeps for root (bpf, perf, userfaultfd, file handles)": Attack(
        program="""
attempt("bpf", syscall, 321, 280, 0, (ctypes.c_uint64 * 16)(1, 4 << 32 | 4, 1), 72)
attempt("perf", syscall, 298, 241, (ctypes.c_uint32 * 32)(1, 128), -1, 0, -1, 0)
attempt("userfaultfd", syscall, 323, 282, 0)
handle = (ctypes.c_uint8 * 24)(8, 0, 0, 0, 1, 0, 0, 0, 2)
attempt("open_by_handle_at", syscall, 304, 265, os.open("/", os.O_RDONLY), handle, 0)
""",
    ),
    "Set the clock or the host name": Attack(
        program="""
import time
attempt("clock", time.clock_settime, time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))
attempt("host name", socket.sethostname, socket.gethostname())
""",
        open_with=MIGHTY,
    ),
    "Take a better place than others (priority, real time, the OOM killer)": Attack(
        program="""
attempt("nice", os.nice, -5)
attempt("real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
attempt("oom", write, "/proc/self/oom_score_adj", "-500")
import resource
for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE):
    hard = resource.getrlimit(limit)[1]
    attempt("limit", resource.setrlimit, limit, (hard, hard + 1))
""",
        open_with=MIGHTY,
    ),
    "Change its own cgroup's limits": Attack(
        program="""
for path in (*glob.glob("/sys/fs/cgroup/**/*.limit_in_bytes", recursive=True),
             *glob.glob("/sys/fs/cgroup/**/memory.max", recursive=True),
             *glob.glob("/sys/fs/cgroup/**/pids.max", recursive=True),
             *glob.glob("/sys/fs/cgroup/**/cgroup.procs", recursive=True)):
    attempt(path, write, path)
for place in ("/sys/fs/cgroup", *glob.glob("/sys/fs/cgroup/*")):
    attempt(place, lambda: os.mkdir(f"{place}/cronium-attack"))
""",
    ),
    "See or signal processes of others": Attack(
        program="""
own = {os.getpid(), 1}
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in own:
        broke_out(open(f"/proc/{name}/cmdline").read())
""",
        open_with=("--pid", "host"),
    ),
    "Trace or read the memory of a process that is not its own": Attack(
        program="""
for pid in range(2, 3000):
    if pid != os.getpid():
        attempt(pid, libcall, "ptrace", 16, pid, None, None)
        attempt(pid, read_any, f"/proc/{pid}/environ")
""",
    ),
    "Reach the Docker socket": Attack(
        program="""
for place, _, names in os.walk("/"):
    if place.startswith(("/proc", "/sys")):
        continue
    for name in names:
        path = os.path.join(place, name)
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            attempt(path, lambda: socket.socket(socket.AF_UNIX).connect(path))
""",
        open_with=(*ROOT, "-v", "/var/run/docker.sock:/var/run/docker.sock"),
    ),
    "Reach the machine's abstract sockets": Attack(
        program="""
for name in {line.split("@")[-1].strip() for line in open("/proc/net/unix") if "@" in line} | {"cronium-attack"}:
    attempt(name, lambda: socket.socket(socket.AF_UNIX).connect("\\0" + name))
""",
        open_with=("--network", "host"),
    ),
    "Make raw or packet sockets, or change the network": Attack(
        program="""
attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP).close())
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300).close())
import fcntl, struct
down = struct.pack("16sh14x", b"lo", 0)
attempt("interface", lambda: fcntl.ioctl(socket.socket(), 0x8914, down))
""",
        open_with=ROOT,
    ),
    "Reach memory that others share (System V, POSIX)": Attack(
        program="""
attempt("System V", libcall, "shmget", 0x43524F4E, 0, 0)
for name in os.listdir("/dev/shm"):
    broke_out(name)
""",
        open_with=("--ipc", "host"),
    ),
    "Get out by a descriptor that was left open": Attack(
        program="""
for process in ("1", "self"):
    try:
        names = os.listdir(f"/proc/{process}/fd")
    except OSError:
        continue
    for name in names:
        try:
            found = os.stat(f"/proc/{process}/fd/{name}")
            link = os.readlink(f"/proc/{process}/fd/{name}")
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and not link.startswith(f"/proc/") or stat.S_ISBLK(found.st_mode):
            broke_out(link)
attempt("cwd", lambda: os.listdir("/proc/1/root/../../cronium-attack"))
""",
    ),
}
