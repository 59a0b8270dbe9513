"""Write the id map in the program: be user 1000 inside, whatever the uid is outside.

PY_UNSHARE=user=none python examples/own_id_map.py
"""

import os

import unshare_boot

unshare_boot.write_user_map({unshare_boot.original_uid(): 1000})
unshare_boot.write_group_map({unshare_boot.original_gid(): 1000})
print(f"uid {os.getuid()}, gid {os.getgid()}")
