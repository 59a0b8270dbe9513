/* A program that asks its C library for a name, as most do:
 *
 *     hello NAME PORT
 *
 * Connects to the first address that takes it, and prints what it reads of a line. Linked with musl
 * it stands for those of Alpine Linux.
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **words) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *each;
    char line[256];
    if (count != 3)
        return 2;
    int error = getaddrinfo(words[1], words[2], &hints, &found);
    if (error) {
        fprintf(stderr, "%s: %s\n", words[1], gai_strerror(error));
        return 1;
    }
    for (each = found; each; each = each->ai_next) {
        int client = socket(each->ai_family, each->ai_socktype, 0);
        if (client >= 0 && connect(client, each->ai_addr, each->ai_addrlen) == 0) {
            ssize_t size = read(client, line, sizeof line);
            fwrite(line, 1, size > 0 ? (size_t)size : 0, stdout);
            return 0;
        }
        perror(words[1]);
        close(client);
    }
    return 1;
}
