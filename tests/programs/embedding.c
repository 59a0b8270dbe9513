/* A program with a Python interpreter inside, as mod_wsgi, uWSGI and many applications are.
 *
 * Usage: embedding LIBPYTHON HOME THREADS CODE
 *
 * It starts THREADS threads, loads the library, points the interpreter at the environment that
 * HOME/bin/python belongs to, initializes it with site, and runs CODE.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <wchar.h>

static void *wait_for_ever(void *unused)
{
	(void)unused;
	for (;;)
		pause();
}

static void *find(void *library, const char *name)
{
	void *symbol = dlsym(library, name);

	if (symbol == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		exit(99);
	}
	return symbol;
}

int main(int argc, char **argv)
{
	static wchar_t program[4096];
	void *library;
	int left;

	if (argc != 5)
		return 98;
	for (left = atoi(argv[3]); left > 0; left--) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, wait_for_ever, NULL) != 0)
			return 97;
	}
	library = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
	if (library == NULL) {
		fprintf(stderr, "%s\n", dlerror());
		return 96;
	}
	swprintf(program, sizeof program / sizeof *program, L"%s/bin/python", argv[2]);
	((void (*)(const wchar_t *))find(library, "Py_SetProgramName"))(program);
	((void (*)(int))find(library, "Py_InitializeEx"))(0);
	left = ((int (*)(const char *, void *))find(library, "PyRun_SimpleStringFlags"))(argv[4], NULL);
	return ((int (*)(void))find(library, "Py_FinalizeEx"))() | left;
}
