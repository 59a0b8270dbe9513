/* Have a program live in July 2031: LD_PRELOAD of this moves the clock that tells the date.
 *
 * No namespace of Linux does that; what asks the kernel itself would not notice.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

static const time_t THEN = 1940000000;

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, now);
    if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec = THEN;
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    now->tv_sec = THEN;
    now->tv_usec = 0;
    return 0;
}

time_t time(time_t *now)
{
    if (now)
        *now = THEN;
    return THEN;
}
