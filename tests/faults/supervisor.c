// Runs a program and makes one of its file operations fail. Seccomp user notification reports each operation before the kernel
// runs it: raw system calls and the processes that the program starts are seen too, and the program needs no change.
//
//     supervisor LOG FOLDER HOW NUMBER PROGRAM [ARGUMENT]...
//
// Only operations on paths and open files below FOLDER count, so FOLDER decides which files can fail. Operation NUMBER, counted
// from 1, or the first one after it that can fail in this way, fails as HOW says:
//
//     none        no operation fails
//     EIO         the operation fails with this error; EIO+ makes all later operations fail too. Also ENOSPC and ENOMEM.
//     short       the operation reads or writes only half of the bytes; short+ does so for all later operations
//     kill        all processes of the program are killed before the operation
//
// ENOSPC is for operations that need space on the disk (makes, writes), short for reads and writes. LOG receives the line
// "NUMBER looks|makes|reads|writes NAME PATH" for each operation that failed, or for all of them with `none`.
//
// Exit code: that of the program, 128 + N if signal N ended it, 124 if it ran longer than LIMIT, 99 if the kernel forbids this.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// Seconds after which a program hangs and is not only slow.
enum { LIMIT = 60 };

enum { EXIT_TIMED_OUT = 124, EXIT_FORBIDDEN = 99, EXIT_SIGNAL = 128 };

// What an operation does.
enum { LOOKS, MAKES, READS, WRITES };

static const char *const NEEDS[] = { "looks", "makes", "reads", "writes" };

// Places of arguments. A path without a descriptor is relative to the current folder, a descriptor without a path is a file.
enum { NONE = -1, CWD = -2 };

struct call {
    int number;
    const char *name;
    int need;
    // Two pairs of descriptor and path.
    int places[4];
};

#define FILE_AT(descriptor) { descriptor, NONE, NONE, NONE }
#define PATH_AT(descriptor, path) { descriptor, path, NONE, NONE }
#define CALL(name, need, ...) { SYS_##name, #name, need, __VA_ARGS__ },

static const struct call CALLS[] = {
#ifdef SYS_open // Architectures from before the calls that end in "at".
    CALL(open, LOOKS, PATH_AT(CWD, 0))
    CALL(creat, MAKES, PATH_AT(CWD, 0))
    CALL(stat, LOOKS, PATH_AT(CWD, 0))
    CALL(lstat, LOOKS, PATH_AT(CWD, 0))
    CALL(access, LOOKS, PATH_AT(CWD, 0))
    CALL(readlink, LOOKS, PATH_AT(CWD, 0))
    CALL(mkdir, MAKES, PATH_AT(CWD, 0))
    CALL(rmdir, LOOKS, PATH_AT(CWD, 0))
    CALL(unlink, LOOKS, PATH_AT(CWD, 0))
    CALL(chmod, LOOKS, PATH_AT(CWD, 0))
    CALL(symlink, MAKES, PATH_AT(CWD, 1))
    CALL(link, MAKES, { CWD, 0, CWD, 1 })
    CALL(rename, MAKES, { CWD, 0, CWD, 1 })
#endif
#ifdef SYS_renameat
    CALL(renameat, MAKES, { 0, 1, 2, 3 })
#endif
    CALL(openat, LOOKS, PATH_AT(0, 1))
    CALL(openat2, LOOKS, PATH_AT(0, 1))
    CALL(newfstatat, LOOKS, PATH_AT(0, 1))
    CALL(statx, LOOKS, PATH_AT(0, 1))
    CALL(faccessat, LOOKS, PATH_AT(0, 1))
    CALL(faccessat2, LOOKS, PATH_AT(0, 1))
    CALL(readlinkat, LOOKS, PATH_AT(0, 1))
    CALL(mkdirat, MAKES, PATH_AT(0, 1))
    CALL(unlinkat, LOOKS, PATH_AT(0, 1))
    CALL(fchmodat, LOOKS, PATH_AT(0, 1))
    CALL(fchownat, LOOKS, PATH_AT(0, 1))
    CALL(utimensat, LOOKS, PATH_AT(0, 1))
    CALL(symlinkat, MAKES, PATH_AT(1, 2))
    CALL(linkat, MAKES, { 0, 1, 2, 3 })
    CALL(renameat2, MAKES, { 0, 1, 2, 3 })
    CALL(fstat, LOOKS, FILE_AT(0))
    CALL(getdents64, LOOKS, FILE_AT(0))
    CALL(flock, LOOKS, FILE_AT(0))
    CALL(fchmod, LOOKS, FILE_AT(0))
    CALL(fchown, LOOKS, FILE_AT(0))
    CALL(mmap, LOOKS, FILE_AT(4))
    CALL(read, READS, FILE_AT(0))
    CALL(pread64, READS, FILE_AT(0))
    CALL(readv, LOOKS, FILE_AT(0))
    CALL(preadv, LOOKS, FILE_AT(0))
    CALL(preadv2, LOOKS, FILE_AT(0))
    CALL(write, WRITES, FILE_AT(0))
    CALL(pwrite64, WRITES, FILE_AT(0))
    CALL(writev, MAKES, FILE_AT(0))
    CALL(pwritev, MAKES, FILE_AT(0))
    CALL(pwritev2, MAKES, FILE_AT(0))
    CALL(ftruncate, MAKES, FILE_AT(0))
    CALL(fallocate, MAKES, FILE_AT(0))
    CALL(fsync, MAKES, FILE_AT(0))
    CALL(fdatasync, MAKES, FILE_AT(0))
    CALL(sync_file_range, MAKES, FILE_AT(0))
    CALL(copy_file_range, MAKES, { 0, NONE, 2, NONE })
    CALL(sendfile, MAKES, { 0, NONE, 1, NONE })
};

enum { CALL_COUNT = sizeof CALLS / sizeof CALLS[0] };

#if defined __x86_64__
enum { ARCHITECTURE = AUDIT_ARCH_X86_64 };
#elif defined __aarch64__
enum { ARCHITECTURE = AUDIT_ARCH_AARCH64 };
#else
#error "no seccomp filter for this architecture"
#endif

static const char *folder;
static const char *how;
static bool from_then_on;
static FILE *log_file;

static void forbid(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    _exit(EXIT_FORBIDDEN);
}

// Installs the filter and returns the descriptor that its notifications are read from.
static int install_filter(void) {
    struct sock_filter filter[8 + 2 * CALL_COUNT];
    unsigned short length = 0;
#define ADD(...) filter[length++] = (struct sock_filter)__VA_ARGS__
#define LOAD(field) ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field)))
    LOAD(arch);
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    LOAD(nr);
    for (int at = 0; at < CALL_COUNT; at++) {
        if (CALLS[at].number == SYS_mmap) continue;
        ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, CALLS[at].number, 0, 1));
        ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
    }
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3));
    LOAD(args[3]);
    ADD(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_ANONYMOUS, 1, 0));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
    ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    struct sock_fprog program = { length, filter };
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) forbid("no_new_privs");
    long listener = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (listener < 0) forbid("seccomp user notification");
    return (int)listener;
}

// A message with one byte and room for one descriptor.
struct passed {
    char byte;
    struct iovec part;
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct msghdr head;
};

static void prepare(struct passed *message) {
    memset(message, 0, sizeof *message);
    message->part = (struct iovec){ &message->byte, 1 };
    message->head = (struct msghdr){ .msg_iov = &message->part,
                                     .msg_iovlen = 1,
                                     .msg_control = message->control.bytes,
                                     .msg_controllen = sizeof message->control.bytes };
}

static void run_program(int channel, char **arguments) {
    setpgid(0, 0);
    int listener = install_filter();
    struct passed message;
    prepare(&message);
    struct cmsghdr *head = CMSG_FIRSTHDR(&message.head);
    *head = (struct cmsghdr){ CMSG_LEN(sizeof listener), SOL_SOCKET, SCM_RIGHTS };
    memcpy(CMSG_DATA(head), &listener, sizeof listener);
    if (sendmsg(channel, &message.head, 0) < 0) forbid("the descriptor of the filter");
    close(listener);
    close(channel);
    execv(arguments[0], arguments);
    forbid(arguments[0]);
}

static int receive_listener(int channel) {
    struct passed message;
    prepare(&message);
    int listener;
    if (recvmsg(channel, &message.head, MSG_CMSG_CLOEXEC) <= 0) return -1;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message.head);
    if (head == NULL) return -1;
    memcpy(&listener, CMSG_DATA(head), sizeof listener);
    return listener;
}

static bool is_below(const char *path) {
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

// Reads a string of a thread up to its end. Words are read so that no unmapped page is touched.
static bool read_string(pid_t thread, uint64_t address, char *text, size_t size) {
    for (size_t length = 0; length + 1 < size;) {
        size_t in_page = 4096 - (address + length) % 4096;
        size_t wanted = in_page < size - 1 - length ? in_page : size - 1 - length;
        struct iovec here = { text + length, wanted }, there = { (void *)(address + length), wanted };
        ssize_t got = process_vm_readv(thread, &here, 1, &there, 1, 0);
        if (got <= 0) return false;
        if (memchr(text + length, 0, (size_t)got) != NULL) return true;
        length += (size_t)got;
    }
    return false;
}

static bool read_link(pid_t thread, const char *name, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/%d/%s", thread, name);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length >= 0;
}

// Writes the path of a descriptor, or of the current folder, to `path`.
static bool path_of(pid_t thread, int descriptor, char *path) {
    char name[32] = "cwd";
    if (descriptor != AT_FDCWD) snprintf(name, sizeof name, "fd/%d", descriptor);
    return read_link(thread, name, path);
}

// Writes the path that one pair of arguments names to `path`, and returns whether it is below the folder.
static bool find_place(const struct seccomp_notif *asked, int descriptor_at, int path_at, char *path) {
    if (descriptor_at == NONE) return false;
    const __u64 *arguments = asked->data.args;
    pid_t thread = (pid_t)asked->pid;
    int descriptor = descriptor_at == CWD ? AT_FDCWD : (int)arguments[descriptor_at];
    char name[PATH_MAX] = "";
    if (path_at != NONE && arguments[path_at] != 0 && !read_string(thread, arguments[path_at], name, sizeof name))
        return false;
    if (name[0] == '/') {
        strcpy(path, name);
        return is_below(path);
    }
    if (!path_of(thread, descriptor, path)) return false;
    size_t length = strlen(path);
    if (name[0] != 0 && length + strlen(name) + 2 < PATH_MAX) sprintf(path + length, "/%s", name);
    return is_below(path);
}

static const struct call *find_call(int number) {
    for (int at = 0; at < CALL_COUNT; at++)
        if (CALLS[at].number == number) return &CALLS[at];
    return NULL;
}

// Returns what an operation does. Opening a file may make it.
static int need_of(const struct call *call, const __u64 *arguments) {
    int flags = 0;
#ifdef SYS_open
    if (call->number == SYS_open) flags = (int)arguments[1];
#endif
    if (call->number == SYS_openat) flags = (int)arguments[2];
    return flags & O_CREAT ? MAKES : call->need;
}

// Returns whether an operation can fail as asked.
static bool can_fail(int need, const __u64 *arguments) {
    if (strcmp(how, "short") == 0) return (need == READS || need == WRITES) && arguments[2] > 1;
    if (strcmp(how, "ENOSPC") == 0) return need == MAKES || need == WRITES;
    return strcmp(how, "none") != 0;
}

// Does half of a read or write in place of the program, and returns the result of the call.
static int64_t do_half(const struct seccomp_notif *asked, const struct call *call) {
    char name[64], line[256];
    pid_t process = 0, thread = (pid_t)asked->pid;
    snprintf(name, sizeof name, "/proc/%d/status", thread);
    FILE *status = fopen(name, "r");
    while (status != NULL && process == 0 && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "Tgid: %d", &process) != 1) process = 0;
    if (status != NULL) fclose(status);
    // This descriptor shares its position with the program's.
    int handle = (int)syscall(SYS_pidfd_open, process, 0);
    int descriptor = (int)syscall(SYS_pidfd_getfd, handle, (int)asked->data.args[0], 0);
    size_t count = asked->data.args[2] / 2;
    off_t from = (off_t)asked->data.args[3];
    char *bytes = malloc(count);
    struct iovec here = { bytes, count }, there = { (void *)asked->data.args[1], count };
    int64_t done;
    if (call->need == WRITES) {
        process_vm_readv(thread, &here, 1, &there, 1, 0);
        done = call->number == SYS_write ? write(descriptor, bytes, count) : pwrite(descriptor, bytes, count, from);
    } else {
        done = call->number == SYS_read ? read(descriptor, bytes, count) : pread(descriptor, bytes, count, from);
        here.iov_len = there.iov_len = done > 0 ? (size_t)done : 0;
        process_vm_writev(thread, &here, 1, &there, 1, 0);
    }
    if (done < 0) done = -errno;
    free(bytes);
    close(descriptor);
    close(handle);
    return done;
}

static int error_number(void) {
    if (strcmp(how, "EIO") == 0) return EIO;
    if (strcmp(how, "ENOSPC") == 0) return ENOSPC;
    return ENOMEM;
}

static void supervise(int listener, pid_t program, long wanted) {
    int handle = (int)syscall(SYS_pidfd_open, program, 0);
    struct pollfd waits[2] = { { listener, POLLIN, 0 }, { handle, POLLIN, 0 } };
    time_t end = time(NULL) + LIMIT;
    long count = 0;
    bool has_failed = false;
    char path[PATH_MAX];
    for (;;) {
        int ready = poll(waits, 2, 1000);
        if (time(NULL) > end) {
            kill(-program, SIGKILL);
            fprintf(log_file, "hangs\n");
            break;
        }
        if (ready <= 0) continue;
        // The last process of the program has ended.
        if (waits[0].revents & (POLLHUP | POLLERR)) break;
        // Processes that the program started may outlive it, but not for long.
        if (waits[1].revents & POLLIN && waits[1].fd >= 0) {
            waits[1].fd = -1;
            end = time(NULL) + LIMIT / 4;
        }
        if (!(waits[0].revents & POLLIN)) continue;
        struct seccomp_notif asked = { 0 };
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0) continue;
        struct seccomp_notif_resp answer = { .id = asked.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE };
        const struct call *call = find_call(asked.data.nr);
        const int *places = call->places;
        bool is_here = find_place(&asked, places[0], places[1], path) || find_place(&asked, places[2], places[3], path);
        if (is_here) {
            int need = need_of(call, asked.data.args);
            bool fails = ++count >= wanted && (from_then_on || !has_failed) && can_fail(need, asked.data.args);
            has_failed |= fails;
            if (fails || strcmp(how, "none") == 0) {
                fprintf(log_file, "%ld %s %s %s\n", count, NEEDS[need], call->name, path + strlen(folder));
            }
            if (fails && strcmp(how, "kill") == 0) {
                kill(-program, SIGKILL);
                continue;
            } else if (fails && strcmp(how, "short") == 0) {
                answer.flags = 0;
                int64_t done = do_half(&asked, call);
                if (done < 0) answer.error = (int)done;
                else answer.val = done;
            } else if (fails) {
                answer.flags = 0;
                answer.error = -error_number();
            }
        }
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
}

int main(int count, char **arguments) {
    if (count < 6) return EXIT_FORBIDDEN;
    log_file = fopen(arguments[1], "w");
    if (log_file == NULL) forbid(arguments[1]);
    folder = arguments[2];
    char *plus = strchr(arguments[3], '+');
    from_then_on = plus != NULL;
    if (from_then_on) *plus = 0;
    how = arguments[3];
    int channel[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) != 0) forbid("socketpair");
    pid_t program = fork();
    if (program == 0) run_program(channel[1], arguments + 5);
    close(channel[1]);
    int listener = receive_listener(channel[0]);
    if (listener >= 0) supervise(listener, program, atol(arguments[4]));
    int status;
    waitpid(program, &status, 0);
    fclose(log_file);
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_SIGNAL + WTERMSIG(status);
}
