/* Start a program, and have something else happen at one system call of one of its processes.
 *
 *     inject TOLD UID GID PROCESS CALL NUMBER error|signal VALUE -- PROGRAM ARGUMENT...
 *
 * The NUMBER-th time that the process PROCESS makes the system call CALL (its number), counted from
 * the execve(2) of PROGRAM or from its birth, the call fails with the errno VALUE instead of being
 * made, or the process gets the signal VALUE first. (close(2) is made and fails: whatever it returns,
 * the descriptor is gone.) PROCESS is 0 for the one that executes PROGRAM,
 * 0.1 for its first child, 0.1.2 for the second child of that. strace(1) has this for one process;
 * it counts for each alone, too, but cannot be told which one is meant.
 *
 * Waits for all of them to end, then writes "<whether it happened> <wait status of 0>" to the file
 * TOLD. A seccomp filter stops at that call only, so that all others cost nothing.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 4096  /* processes of one start */

struct tracee {
    pid_t pid;        /* 0 once it is gone */
    char name[64];    /* such as 0.1.2; empty until its parent has told of it */
    int children;
};

static struct tracee tracees[MOST];
static int known;

static void die(const char *what) {
    perror(what);
    exit(2);
}

static struct tracee *find(pid_t pid) {
    for (int at = known - 1; at >= 0; at--)
        if (tracees[at].pid == pid)
            return &tracees[at];
    if (known == MOST) {
        fputs("inject: too many processes\n", stderr);
        exit(2);
    }
    tracees[known].pid = pid;
    return &tracees[known++];
}

static void stop_at(int call) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    /* Without privileges it takes no_new_privs, and then newuidmap(1) has none either. */
    if (geteuid() != 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        die("inject: PR_SET_NO_NEW_PRIVS");
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        die("inject: PR_SET_SECCOMP");
}

/* Make the call of a stopped process fail; it is not made, or has been, as close(2) always is. */
static void fail(pid_t pid, int error, int made) {
#if defined(__x86_64__)
    struct user_regs_struct registers;
    if (ptrace(PTRACE_GETREGS, pid, 0, &registers))
        die("inject: PTRACE_GETREGS");
    if (!made)
        registers.orig_rax = -1;  /* no call: seccomp(2), SECCOMP_RET_TRACE */
    registers.rax = -error;
    if (ptrace(PTRACE_SETREGS, pid, 0, &registers))
        die("inject: PTRACE_SETREGS");
#elif defined(__aarch64__)
    struct user_regs_struct registers;
    struct iovec vector = {&registers, sizeof registers};
    int none = -1;
    struct iovec number = {&none, sizeof none};
    if (ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &vector))
        die("inject: PTRACE_GETREGSET");
    registers.regs[0] = -error;
    if ((!made && ptrace(PTRACE_SETREGSET, pid, NT_ARM_SYSTEM_CALL, &number)) ||
        ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &vector))
        die("inject: PTRACE_SETREGSET");
#else
#error "how does a debugger make a system call fail on this machine?"
#endif
}

int main(int count, char **words) {
    if (count < 11 || strcmp(words[9], "--")) {
        fputs("usage: see inject.c\n", stderr);
        return 2;
    }
    const char *told = words[1], *process = words[4], *kind = words[7];
    uid_t uid = atoi(words[2]);
    gid_t gid = atoi(words[3]);
    int call = atoi(words[5]), number = atoi(words[6]), value = atoi(words[8]);

    int ready[2];
    if (pipe2(ready, O_CLOEXEC))
        die("inject: pipe2");
    pid_t first = fork();
    if (first < 0)
        die("inject: fork");
    if (first == 0) {
        char byte;
        close(ready[1]);
        if (read(ready[0], &byte, 1) != 1)
            _exit(2);
        stop_at(call);
        if (geteuid() == 0 && (setgroups(0, 0) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid)))
            die("inject: setresuid");
        execvp(words[10], words + 10);
        die(words[10]);
    }
    close(ready[0]);
    long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC |
                   PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SEIZE, first, 0, options))
        die("inject: PTRACE_SEIZE");
    strcpy(find(first)->name, "0");
    if (write(ready[1], "!", 1) != 1)
        die("inject: write");
    close(ready[1]);

    int begun = 0, seen = 0, happened = 0, end = 0, status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, __WALL)) > 0) {
        struct tracee *it = find(pid);
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (pid == first)
                end = status;
            it->pid = 0;
            continue;
        }
        int event = status >> 16, deliver = 0;
        if (event == PTRACE_EVENT_EXEC) {
            begun = 1;
        } else if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK ||
                   event == PTRACE_EVENT_CLONE) {
            unsigned long child;
            if (ptrace(PTRACE_GETEVENTMSG, pid, 0, &child) == 0) {
                char name[sizeof it->name];
                snprintf(name, sizeof name, "%.48s.%d", it->name, ++it->children);
                struct tracee *born = find(child);
                int waits = born->name[0] == '?';
                strcpy(born->name, name);
                if (waits)
                    ptrace(PTRACE_CONT, child, 0, 0);
            }
        } else if (event == PTRACE_EVENT_SECCOMP) {
            if (begun && !happened && !strcmp(it->name, process) && ++seen == number) {
                happened = 1;
                if (strcmp(kind, "error")) {
                    kill(pid, value);
                } else if (call == SYS_close) {
                    ptrace(PTRACE_SYSCALL, pid, 0, 0);
                    continue;
                } else {
                    fail(pid, value, 0);
                }
            }
        } else if (event == PTRACE_EVENT_STOP) {
            int stop = WSTOPSIG(status);
            if (stop != SIGTRAP) {  /* a group stop: ptrace(2) */
                ptrace(PTRACE_LISTEN, pid, 0, 0);
                continue;
            }
            if (!it->name[0]) {  /* born, and its parent has not told of it yet */
                strcpy(it->name, "?");
                continue;
            }
        } else if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
            fail(pid, value, 1);  /* after the call: ptrace(2) on PTRACE_EVENT_SECCOMP, Linux 4.8 */
        } else {
            deliver = WSTOPSIG(status);
        }
        ptrace(PTRACE_CONT, pid, 0, deliver);
    }
    FILE *file = fopen(told, "w");
    if (!file || fprintf(file, "%d %d\n", happened, end) < 0 || fclose(file))
        die("inject: the file to tell");
    return 0;
}
