build/lib/preload/lib/epoll.o: preload/lib/epoll.c preload/lib/lib.h \
 common/nk_atomic.h common/nk_ring.h include/nk_abi.h \
 preload/lib/../proto.h preload/lib/../shm.h common/nk_conn.h \
 preload/lib/../shm.h preload/lib/real.h
preload/lib/lib.h:
common/nk_atomic.h:
common/nk_ring.h:
include/nk_abi.h:
preload/lib/../proto.h:
preload/lib/../shm.h:
common/nk_conn.h:
preload/lib/../shm.h:
preload/lib/real.h:
