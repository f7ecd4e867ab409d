/* A seccomp filter. Only calls that name a process are looked at; for all others the kernel has the
 * answer in a bitmap. SPEC_ALLOW: or some kernels turn on mitigations that slow down what is timed.
 *
 * It is no jail: where nothing is hidden (hide.h), a process that is bent on it finds other ways
 * (/proc/PID/mem). It keeps the slips, kill(-1) after a fork that failed among them, from taking a
 * run, or a machine, with them.
 *
 * userfaultfd fails: memory whose contents are made when somebody looks would be one that is not
 * there when its launch returns. The signals of such a fault are fence_faults's. */
#define _GNU_SOURCE
#include "fence.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { ARCHITECTURE = (int)AUDIT_ARCH_X86_64 };
#elif defined(__aarch64__)
enum { ARCHITECTURE = (int)AUDIT_ARCH_AARCH64 };
#else
enum { ARCHITECTURE = 0 }; /* no other is known: nothing is looked at */
#endif

#define WORD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
/* Where the word is `value`, skip so many instructions; else go on. */
#define SKIP_IF(value, skip) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), skip, 0)
#define ANSWER(answer) BPF_STMT(BPF_RET | BPF_K, answer)

void fence_faults(bool deadly) {
    sigset_t faults;
    sigemptyset(&faults);
    sigaddset(&faults, SIGSEGV);
    sigaddset(&faults, SIGBUS);
    pthread_sigmask(deadly ? SIG_BLOCK : SIG_UNBLOCK, &faults, NULL);
}

void fence_raise(const pid_t keepers[FENCE_KEEPERS]) {
    const pid_t first = keepers[0], second = keepers[1];
    struct sock_filter program[] = {
        WORD(arch),
        SKIP_IF(ARCHITECTURE, 1),
        ANSWER(SECCOMP_RET_ALLOW),
        WORD(nr),
        SKIP_IF(__NR_kill, 11),
        SKIP_IF(__NR_tkill, 12),
        SKIP_IF(__NR_tgkill, 11),
        SKIP_IF(__NR_rt_sigqueueinfo, 10),
        SKIP_IF(__NR_rt_tgsigqueueinfo, 9),
        SKIP_IF(__NR_process_vm_readv, 8),
        SKIP_IF(__NR_process_vm_writev, 7),
        SKIP_IF(__NR_pidfd_open, 6),
        SKIP_IF(__NR_ptrace, 7),
        SKIP_IF(__NR_userfaultfd, 1),
        ANSWER(SECCOMP_RET_ALLOW),
        ANSWER(SECCOMP_RET_ERRNO | EPERM),
        WORD(args[1]), /* of kill: signal 0 only asks */
        SKIP_IF(0, 8),
        WORD(args[0]), /* the low half of the argument is what it is */
        BPF_STMT(BPF_JMP | BPF_JA, 1),
        WORD(args[1]), /* of ptrace: the process */
        SKIP_IF(first, 5),
        SKIP_IF(second, 4),
        SKIP_IF(-1, 3),
        SKIP_IF(-getpgid(first), 2),
        SKIP_IF(-getpgid(second), 1),
        ANSWER(SECCOMP_RET_ALLOW),
        ANSWER(SECCOMP_RET_KILL_PROCESS),
    };
    const struct sock_fprog filter = {.len = sizeof program / sizeof program[0], .filter = program};
    const unsigned flags = SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter) == 0) return; /* as root */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
}
