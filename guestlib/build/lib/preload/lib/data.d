build/lib/preload/lib/data.o: preload/lib/data.c preload/lib/lib.h \
 common/nk_atomic.h common/nk_ring.h include/nk_abi.h \
 preload/lib/../proto.h preload/lib/../shm.h common/nk_conn.h \
 preload/lib/../shm.h preload/lib/real.h preload/lib/../options.h
preload/lib/lib.h:
common/nk_atomic.h:
common/nk_ring.h:
include/nk_abi.h:
preload/lib/../proto.h:
preload/lib/../shm.h:
common/nk_conn.h:
preload/lib/../shm.h:
preload/lib/real.h:
preload/lib/../options.h:
