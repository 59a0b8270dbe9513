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

# What both sides know. RFC 2544 and RFC 5180 set these addresses aside for benchmarks: nothing on
# any network has them.
ADDRESS4 = bytes([198, 18, 0, 2])
GATEWAY4 = bytes([198, 18, 0, 1])
ADDRESS6 = bytes.fromhex("20010002000000000000000000000002")
GATEWAY6 = bytes.fromhex("20010002000000000000000000000001")
OUTER, INNER = "gate", "gate0"  # the ends in B and in A
DNS_PORT = 53
RECORD_PORT = 1  # of GATEWAY4: what the record holds so far
KEPT = 256  # bytes of each packet that is an attempt: headers, and what an ICMP message quotes
PER_MESSAGE = 250  # sockets to the helper; the kernel takes SCM_MAX_FD, 253: unix(7)

WHOLE = True
