/* A program that asks DNS itself, as Go's do, and has nothing to do with libc's resolver:
 *
 *     resolver NAME PORT
 *
 * Asks the first nameserver of /etc/resolv.conf for an IPv4 address, connects, and prints what it
 * reads of a line. Linked statically.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *what) {
    perror(what);
    exit(1);
}

static struct sockaddr_in nameserver(void) {
    struct sockaddr_in found = {.sin_family = AF_INET, .sin_port = htons(53)};
    char line[256], address[64];
    FILE *file = fopen("/etc/resolv.conf", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "nameserver %63s", address) == 1 &&
            inet_pton(AF_INET, address, &found.sin_addr) == 1)
            return found;
    die("/etc/resolv.conf");
    return found;
}

/* RFC 1035, 4.1: one question, of type A. */
static size_t question(unsigned char *out, const char *name) {
    unsigned char *at = out + 12;
    memset(out, 0, 12);
    out[0] = 7, out[2] = 1, out[5] = 1;
    while (*name) {
        size_t length = strcspn(name, ".");
        *at++ = (unsigned char)length;
        memcpy(at, name, length);
        at += length;
        name += length + (name[length] == '.');
    }
    memcpy(at, "\0\0\1\0\1", 5);
    return (size_t)(at + 5 - out);
}

int main(int count, char **words) {
    unsigned char message[600];
    if (count != 3)
        return 2;
    struct sockaddr_in server = nameserver();
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    size_t asked = question(message, words[1]);
    if (sendto(udp, message, asked, 0, (struct sockaddr *)&server, sizeof server) < 0)
        die("sendto");
    ssize_t size = recv(udp, message, sizeof message, 0);
    if (size < (ssize_t)asked + 16 || message[7] == 0) {
        fputs("no such name\n", stderr);
        return 1;
    }
    /* The first answer: a pointer to the name, type, class, time to live, length, address. */
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
    memcpy(&target.sin_addr, message + asked + 12, 4);
    int tcp = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(tcp, (struct sockaddr *)&target, sizeof target))
        die("connect");
    char line[256];
    ssize_t got = read(tcp, line, sizeof line);
    return got > 0 && write(1, line, (size_t)got) == got ? 0 : 1;
}
