/*
 * The floor under every figure: what the kernel itself asks for, and nothing else.
 *
 *     peer user,net,mount PROGRAM [ARGUMENT ...]
 *
 * enters the namespaces of the list, maps the caller to uid and gid 0, brings lo up, makes the
 * mounts private, and replaces itself with PROGRAM (an absolute path). All namespaces are entered
 * by one unshare(2), the cheapest way there is. Exit status 125 when a step fails.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif
#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

static const struct {
    const char *name;
    int flag;
} NAMESPACES[] = {
    {"user", CLONE_NEWUSER}, {"net", CLONE_NEWNET},       {"mount", CLONE_NEWNS},
    {"uts", CLONE_NEWUTS},   {"ipc", CLONE_NEWIPC},       {"cgroup", CLONE_NEWCGROUP},
    {"time", CLONE_NEWTIME},
};

static void fail(const char *step)
{
    fprintf(stderr, "peer: %s: %s\n", step, strerror(errno));
    exit(125);
}

static int flag_of(const char *name)
{
    for (size_t i = 0; i < sizeof NAMESPACES / sizeof *NAMESPACES; i++)
        if (strcmp(name, NAMESPACES[i].name) == 0)
            return NAMESPACES[i].flag;
    errno = EINVAL;
    fail(name);
    return 0;
}

static void write_file(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    size_t length = strlen(text);

    if (file < 0 || write(file, text, length) != (ssize_t)length)
        fail(path);
    close(file);
}

static void map_to_root(unsigned uid, unsigned gid)
{
    char line[64];

    snprintf(line, sizeof line, "0 %u 1\n", uid);
    write_file("/proc/self/uid_map", line);
    write_file("/proc/self/setgroups", "deny"); /* gid_map is refused before this: user_namespaces(7) */
    snprintf(line, sizeof line, "0 %u 1\n", gid);
    write_file("/proc/self/gid_map", line);
}

static void loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo"};
    int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (control < 0)
        fail("socket");
    request.ifr_flags = IFF_UP;
    if (ioctl(control, SIOCSIFFLAGS, &request) < 0)
        fail("ioctl(SIOCSIFFLAGS)");
    close(control);
}

static void enter_time(void)
{
    int namespace = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);

    if (namespace < 0 || setns(namespace, CLONE_NEWTIME) < 0)
        fail("setns(time_for_children)");
    close(namespace);
}

int main(int argc, char **argv)
{
    unsigned uid = geteuid(), gid = getegid();
    int flags = 0;

    if (argc < 3) {
        fputs("usage: peer LIST PROGRAM [ARGUMENT ...]\n", stderr);
        return 125;
    }
    for (char *name = strtok(argv[1], ","); name; name = strtok(NULL, ","))
        flags |= flag_of(name);
    if (unshare(flags) < 0)
        fail("unshare");
    if (flags & CLONE_NEWUSER)
        map_to_root(uid, gid);
    if (flags & CLONE_NEWNET)
        loopback_up();
    if (flags & CLONE_NEWNS && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        fail("mount(MS_REC|MS_PRIVATE)");
    if (flags & CLONE_NEWTIME)
        enter_time();
    execv(argv[2], argv + 2);
    fail("execv");
}
