# Made by scripts/make_share.py; not edited by hand.

function __unshare_boot_list
    set -l word (commandline --current-token --cut-at-cursor)
    set -l before (string match --regex -- '^.*[,|]' $word)
    set -l item (string replace --regex -- '^.*[,|]' '' $word)
    set -l name (string replace --regex -- '=.*' '' $item)
    if not string match --quiet -- '*=*' $item
        echo 'user'\t'new user namespace; the current uid and gid become 0' | string replace --regex -- '^' "$before"
        echo 'net'\t'new network namespace, lo up with 127.0.0.1 and ::1' | string replace --regex -- '^' "$before"
        echo 'mount'\t'new mount namespace that does not see what the host mounts' | string replace --regex -- '^' "$before"
        echo 'uts'\t'new UTS namespace, hostname set' | string replace --regex -- '^' "$before"
        echo 'ipc'\t'new IPC namespace' | string replace --regex -- '^' "$before"
        echo 'cgroup'\t'new cgroup namespace' | string replace --regex -- '^' "$before"
        echo 'time'\t'new time namespace; monotonic and boottime clocks moved: +90, -5m, +30d' | string replace --regex -- '^' "$before"
        echo 'pid'\t'new PID namespace, with an init and a fresh /proc' | string replace --regex -- '^' "$before"
        echo 'map-users='\t'one more range of the id map; may be repeated' | string replace --regex -- '^' "$before"
        echo 'map-groups='\t'one more range of the id map; may be repeated' | string replace --regex -- '^' "$before"
        echo 'setgroups='\t'whether setgroups(2) works inside' | string replace --regex -- '^' "$before"
        echo 'monotonic='\t'one clock only' | string replace --regex -- '^' "$before"
        echo 'boottime='\t'one clock only' | string replace --regex -- '^' "$before"
        echo 'publish='\t'a port of the host that leads inside; may be repeated' | string replace --regex -- '^' "$before"
        echo 'addr='\t'one more address on lo; may be repeated' | string replace --regex -- '^' "$before"
        echo 'allow='\t'connections to HOST pass, everything else is refused; may be repeated' | string replace --regex -- '^' "$before"
        echo 'record'\t'tell who tried to reach what: on standard error, or in FILE' | string replace --regex -- '^' "$before"
        echo 'proc='\t'mount a fresh /proc, or keep the old one although pid is given' | string replace --regex -- '^' "$before"
        echo 'sys'\t'mount a fresh /sys' | string replace --regex -- '^' "$before"
        echo 'tmpfs='\t'an empty tmpfs on DIR, holding at most SIZE; may be repeated' | string replace --regex -- '^' "$before"
        echo 'bind='\t'bind-mount SRC on DST, recursively; may be repeated' | string replace --regex -- '^' "$before"
        echo 'ro='\t'make DIR and all below it read-only; may be repeated' | string replace --regex -- '^' "$before"
        echo 'rw='\t'below what ro, hide or tmpfs cover, DIR stays what it is: there, and writable; may be repeated' | string replace --regex -- '^' "$before"
        echo 'hide='\t'PATH is there and empty, for nobody to read or write; may be repeated' | string replace --regex -- '^' "$before"
        echo 'overlay='\t'a throwaway copy-on-write view of DIR' | string replace --regex -- '^' "$before"
        echo 'caps='\t'children keep the capabilities; or nobody has any' | string replace --regex -- '^' "$before"
        echo 'sockets='\t'no sockets but unix and netlink ones; no namespace, so it works in most containers' | string replace --regex -- '^' "$before"
        echo 'offline'\t'stands for user=current,net,caps=none; what is written beside it counts first' | string replace --regex -- '^' "$before"
        return
    end
    switch $name
        case user
            printf '%s\n' root current auto all none | string replace --regex -- '^' "$before$name="
        case net
            printf '%s\n' lo down gate pasta slirp4netns | string replace --regex -- '^' "$before$name="
        case mount
            printf '%s\n' private slave shared unchanged | string replace --regex -- '^' "$before$name="
        case setgroups
            printf '%s\n' allow deny | string replace --regex -- '^' "$before$name="
        case proc
            printf '%s\n' fresh keep | string replace --regex -- '^' "$before$name="
        case caps
            printf '%s\n' keep none | string replace --regex -- '^' "$before$name="
        case sockets
            printf '%s\n' unix | string replace --regex -- '^' "$before$name="
    end
    switch $name
        case tmpfs ro rw overlay
            __fish_complete_directories (string replace -- $name= '' $item) '' |
                string replace --regex -- '^' "$before$name="
        case user net mount uts ipc cgroup time pid record bind hide
            __fish_complete_path (string replace -- $name= '' $item) '' |
                string replace --regex -- '^' "$before$name="
    end
end

complete --command unshare-boot --no-files
complete -c unshare-boot -n '__fish_is_first_token' -s h -d 'show this help message and exit'
complete -c unshare-boot -n '__fish_is_first_token' -l help -d 'show this help message and exit'
complete -c unshare-boot -n '__fish_is_first_token' -l version -d 'show program'\''s version number and exit'
complete -c unshare-boot -n '__fish_is_first_token' -l json -d 'print JSON'
complete -c unshare-boot -n 'not __fish_seen_subcommand_from check run where allow changes' -a check -d 'say whether a list would work here'
complete -c unshare-boot -n 'not __fish_seen_subcommand_from check run where allow changes' -a run -d 'run a command inside a list, Python or not'
complete -c unshare-boot -n 'not __fish_seen_subcommand_from check run where allow changes' -a where -d 'say which Pythons look at PY_UNSHARE'
complete -c unshare-boot -n 'not __fish_seen_subcommand_from check run where allow changes' -a allow -d 'print the allow items that a record asks for'
complete -c unshare-boot -n 'not __fish_seen_subcommand_from check run where allow changes' -a changes -d 'show what an overlay has kept, or apply it'
complete -c unshare-boot -n '__fish_seen_subcommand_from check' -s h -d 'show this help message and exit'
complete -c unshare-boot -n '__fish_seen_subcommand_from check' -l help -d 'show this help message and exit'
complete -c unshare-boot -n '__fish_seen_subcommand_from check' -l json -d 'as JSON'
complete -c unshare-boot -n '__fish_seen_subcommand_from check' -a '(__unshare_boot_list)'
complete -c unshare-boot -n '__fish_seen_subcommand_from run' -s h -d 'show this help message and exit'
complete -c unshare-boot -n '__fish_seen_subcommand_from run' -l help -d 'show this help message and exit'
complete -c unshare-boot -n '__fish_seen_subcommand_from run' -a '(__unshare_boot_list)'
complete -c unshare-boot -n '__fish_seen_subcommand_from where' -s h -d 'show this help message and exit'
complete -c unshare-boot -n '__fish_seen_subcommand_from where' -l help -d 'show this help message and exit'
complete -c unshare-boot -n '__fish_seen_subcommand_from where' -l json -d 'as JSON'
complete -c unshare-boot -n '__fish_seen_subcommand_from where' --force-files
complete -c unshare-boot -n '__fish_seen_subcommand_from allow' -s h -d 'show this help message and exit'
complete -c unshare-boot -n '__fish_seen_subcommand_from allow' -l help -d 'show this help message and exit'
complete -c unshare-boot -n '__fish_seen_subcommand_from allow' -l json -d 'as JSON'
complete -c unshare-boot -n '__fish_seen_subcommand_from allow' --force-files
complete -c unshare-boot -n '__fish_seen_subcommand_from changes' -s h -d 'show this help message and exit'
complete -c unshare-boot -n '__fish_seen_subcommand_from changes' -l help -d 'show this help message and exit'
complete -c unshare-boot -n '__fish_seen_subcommand_from changes' -l diff -d 'show what has changed in text files'
complete -c unshare-boot -n '__fish_seen_subcommand_from changes' -l apply -d 'make the same changes in DIR'
complete -c unshare-boot -n '__fish_seen_subcommand_from changes' -l json -d 'as JSON'
complete -c unshare-boot -n '__fish_seen_subcommand_from changes' --force-files
complete -c unshare-boot -n '__fish_seen_subcommand_from where' -a '(__fish_complete_command)'
complete -c unshare-boot -n '__fish_seen_subcommand_from run' -a '(__fish_complete_subcommand --fcs-skip=3)'
