"""The gate: a network namespace with one way out, a process outside that passes what is named.

    A: the program's network namespace          B: nobody lives here       outside
    lo, and gate0 with an address      ──veth── gate: every address        unshare-gate holds B's
    and default routes                          is a local one             sockets, and resolves,
                                                                           connects and copies

``network`` makes the two namespaces, ``program`` is what the program does on its way, ``helper``
the process outside: it reads every attempt off a packet socket (``packets``), finds out who made it
(``who``), decides by the rules of the list (``rules``), answers names (``names``), lets connections
pass (``tcp``, ``udp``), and keeps the record (``record``). docs/networking.md has the picture.
"""

WHOLE = True
