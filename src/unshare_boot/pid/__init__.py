"""The PID namespace: three processes where there was one. docs/pid.md has the picture.

No process can move into a PID namespace; only its children are born there (pid_namespaces(7)). So
the process that was started stays outside and becomes the *supervisor*. Its first child inside is
*init*, and its second is the *program*, in which `supervisor.go_on_in_child` returns:

    supervisor   starts the other two, passes signals on, stops and ends as the program does
    init         PID 1: reaps orphans, and knows which signals were sent to the whole group
    program      waits until the supervisor is ready, before any user code

The supervisor stands in for the program towards whoever started it. It is the program's parent, so
it sees how the program stops and ends without init's help. All three stay in one process group,
because that is the job which a shell and a terminal know: the kernel gives the program a Ctrl-C
directly, as it does for the other members of a pipeline.

Hence a signal that comes to the supervisor has to be passed on only if it was sent to the
supervisor alone. No signal says to whom it was sent; so init, which no signal from inside can harm,
is the witness. It blocks every signal and notes which ones come: what init has received was sent to
the whole group, and the program has received it, too.

Here is what the three need of signals: a file of its own would cost each start 0.1 ms.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as signal
    from signal import sigtimedwait as sigtimedwait
    from signal import sigwaitinfo as sigwaitinfo
else:
    import _signal as signal  # the same without enums, which cost more to make than all of this

    if hasattr(signal, "sigwaitinfo"):
        from _signal import sigtimedwait, sigwaitinfo
    else:  # PyPy has neither
        from .signalfd import sigtimedwait as sigtimedwait
        from .signalfd import sigwaitinfo as sigwaitinfo

EVERY_SIGNAL = signal.valid_signals()

WHOLE = True
