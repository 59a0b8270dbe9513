"""Where the fuzzing begins: values of each variable, the first byte of which tells which one."""

from __future__ import annotations

LISTS = [
    "user,net,mount",
    "user=current,uts=inside,ipc,cgroup",
    "user=7:8,map-users=1:100:5,map-groups=1:100:5,setgroups=allow",
    "user=auto,time=+1.5h,pid,proc=keep",
    "user,monotonic=-5m,boottime=+30d",
    "user,net=pasta,publish=8080:80,publish=[::1]:53:53/udp,mount=slave",
    "user,net=slirp4netns,publish=127.0.0.1:1:2",
    "user,net,addr=10.0.0.1/8,addr=fd00::1/64,sys",
    "user,tmpfs=/mnt,bind=/a:/b\\:c,ro=/x\\,y,overlay=.\\\\z",
    "net=/proc/1/ns/net,user=/proc/1/ns/user",
    " user , net=down , caps=none ",
    "user,caps=keep,net=lo,mount=unchanged",
    "off",
]
OTHERS = {
    1: ["pytest,manage.py", "py*,[a-z]?", "-c,-"],
    2: ["abort", "warn", ""],
    3: ["--mtu 1500 -f", "'a b' \"c\" \\d"],
    4: ["user=4026532177,net=4026532180", "pid=1,user="],
    5: ["4711 1 python3", " ", "1"],
}
SEEDS = [b"\0" + text.encode() for text in LISTS]
SEEDS += [bytes([which]) + text.encode() for which, texts in OTHERS.items() for text in texts]

# The words of the language, for libFuzzer's dictionary.
WORDS = (
    *("user", "net", "mount", "uts", "ipc", "cgroup", "time", "pid", "root", "current", "auto"),
    *("all", "none", "lo", "down", "pasta", "slirp4netns", "private", "slave", "shared"),
    *("unchanged", "map-users", "map-groups", "setgroups", "allow", "deny", "monotonic"),
    *("boottime", "publish", "addr", "proc", "fresh", "keep", "sys", "tmpfs", "bind", "ro"),
    *("overlay", "caps", "/udp", "/tcp", "off", "warn", "abort", "::", "127.0.0.1", "4294967294"),
)
