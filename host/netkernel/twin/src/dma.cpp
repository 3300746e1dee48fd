// SPDX-License-Identifier: Apache-2.0
// Purpose: DMA into memory that clients shared; see dma.h.

#include "dma.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <limits>
#include <mutex>

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace nk {

namespace {

constexpr std::uint64_t PAGE = 4096;
constexpr std::size_t MAPPINGS_MAX = 4096;  // of one function; QEMU uses some dozens
constexpr std::size_t GUARDS_MAX = 65536;

// Read by the signal handler, so: no locks, no memory allocation.
struct Guard {
    std::atomic<std::uintptr_t> start{0};  // 0: slot is free
    std::atomic<std::size_t> bytes{0};
};
Guard guards[GUARDS_MAX];
std::atomic<std::size_t> guards_used{0};  // slots that were ever in use
std::atomic<std::uint64_t> memory_lost{0};
struct sigaction previous_action;

void on_sigbus(int signal, siginfo_t *info, void *context)
{
    const auto addr = reinterpret_cast<std::uintptr_t>(info->si_addr);
    const std::size_t used = guards_used.load(std::memory_order_acquire);
    for (std::size_t i = 0; i < used; ++i) {
        const std::uintptr_t start = guards[i].start.load(std::memory_order_acquire);
        const std::size_t bytes = guards[i].bytes.load(std::memory_order_relaxed);
        if (start == 0 || addr < start || addr - start >= bytes)
            continue;
        const int saved_errno = errno;
        void *fresh = mmap(reinterpret_cast<void *>(start), bytes, PROT_READ | PROT_WRITE,
                           MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        errno = saved_errno;
        if (fresh == MAP_FAILED)
            break;
        memory_lost.fetch_add(1, std::memory_order_relaxed);
        return;  // the access is tried again, now on empty memory
    }
    if ((previous_action.sa_flags & SA_SIGINFO) && previous_action.sa_sigaction) {
        previous_action.sa_sigaction(signal, info, context);
    } else if (previous_action.sa_handler != SIG_IGN && previous_action.sa_handler != SIG_DFL) {
        previous_action.sa_handler(signal);
    } else {
        std::signal(SIGBUS, SIG_DFL);  // the access is tried again, and ends the process as it should
    }
}

int add_guard(std::uint8_t *data, std::size_t bytes)
{
    static std::mutex mutex;
    static std::once_flag installed;
    std::call_once(installed, [] {
        struct sigaction action {};
        action.sa_sigaction = on_sigbus;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK;
        sigemptyset(&action.sa_mask);
        sigaction(SIGBUS, &action, &previous_action);
    });
    std::lock_guard<std::mutex> lock(mutex);
    for (std::size_t i = 0; i < GUARDS_MAX; ++i) {
        if (guards[i].start.load(std::memory_order_relaxed) != 0)
            continue;
        guards[i].bytes.store(bytes, std::memory_order_relaxed);
        guards[i].start.store(reinterpret_cast<std::uintptr_t>(data), std::memory_order_release);
        if (i >= guards_used.load(std::memory_order_relaxed))
            guards_used.store(i + 1, std::memory_order_release);
        return static_cast<int>(i);
    }
    return -1;
}

// Memory files alone: a page of a disk or network file could keep the simulation waiting for ever.
bool is_memory_file(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0)
        return false;
    const auto type = static_cast<unsigned long>(fs.f_type);
    return type == TMPFS_MAGIC || type == HUGETLBFS_MAGIC;
}

}  // namespace

SharedMemory::SharedMemory(SharedMemory &&other) noexcept { *this = std::move(other); }

SharedMemory &SharedMemory::operator=(SharedMemory &&other) noexcept
{
    if (this != &other) {
        unmap();
        data_ = other.data_;
        bytes_ = other.bytes_;
        guard_ = other.guard_;
        other.data_ = nullptr;
        other.bytes_ = 0;
        other.guard_ = -1;
    }
    return *this;
}

SharedMemory::~SharedMemory() { unmap(); }

void SharedMemory::unmap()
{
    if (!data_)
        return;
    guards[guard_].start.store(0, std::memory_order_release);
    munmap(data_, bytes_);
    data_ = nullptr;
    bytes_ = 0;
    guard_ = -1;
}

int SharedMemory::map(int fd, std::uint64_t offset, std::size_t bytes, int prot)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -errno;
    const auto file_bytes = static_cast<std::uint64_t>(st.st_size);
    if (!is_memory_file(fd) || bytes == 0 || offset % PAGE || offset > file_bytes || bytes > file_bytes - offset)
        return -EINVAL;
    void *data = mmap(nullptr, bytes, prot, MAP_SHARED, fd, static_cast<off_t>(offset));
    if (data == MAP_FAILED)
        return -errno;
    const int guard = add_guard(static_cast<std::uint8_t *>(data), bytes);
    if (guard < 0) {
        munmap(data, bytes);
        return -ENOSPC;
    }
    unmap();
    data_ = static_cast<std::uint8_t *>(data);
    bytes_ = bytes;
    guard_ = guard;
    return 0;
}

std::uint64_t SharedMemory::lost() { return memory_lost.load(std::memory_order_relaxed); }

int DmaSpace::map(std::uint64_t iova, std::uint64_t size, int fd, std::uint64_t offset, std::uint32_t prot)
{
    const std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
    if (size == 0 || iova % PAGE || size % PAGE || iova > max - (size - 1) || (prot & ~(READ | WRITE)))
        return -EINVAL;
    if (maps_.size() >= MAPPINGS_MAX)
        return -ENOSPC;
    auto after = std::find_if(maps_.begin(), maps_.end(), [&](const Mapping &m) { return m.iova >= iova; });
    if (after != maps_.end() && after->iova - iova < size)
        return -EEXIST;
    if (after != maps_.begin() && iova - (after - 1)->iova < (after - 1)->size)
        return -EEXIST;
    Mapping mapping{iova, size, prot, {}};
    if (fd >= 0) {
        const int host = ((prot & READ) ? PROT_READ : 0) | ((prot & WRITE) ? PROT_READ | PROT_WRITE : 0);
        const int error = mapping.memory.map(fd, offset, size, host);
        if (error)
            return error;
    }
    maps_.insert(after, std::move(mapping));
    last_ = 0;
    return 0;
}

int DmaSpace::unmap(std::uint64_t iova, std::uint64_t size)
{
    if (size == 0 || iova > std::numeric_limits<std::uint64_t>::max() - (size - 1))
        return -EINVAL;
    const std::uint64_t last = iova + (size - 1);
    for (const Mapping &m : maps_) {
        const std::uint64_t m_last = m.iova + (m.size - 1);
        const bool touches = m.iova <= last && m_last >= iova;
        if (touches && (m.iova < iova || m_last > last))
            return -EINVAL;
    }
    const auto gone = std::remove_if(maps_.begin(), maps_.end(),
                                     [&](const Mapping &m) { return m.iova >= iova && m.iova <= last; });
    const int count = static_cast<int>(maps_.end() - gone);
    maps_.erase(gone, maps_.end());
    last_ = 0;
    return count;
}

int DmaSpace::clear()
{
    const int count = static_cast<int>(maps_.size());
    maps_.clear();
    last_ = 0;
    return count;
}

const DmaSpace::Mapping *DmaSpace::find(std::uint64_t addr)
{
    if (last_ < maps_.size() && addr - maps_[last_].iova < maps_[last_].size)
        return &maps_[last_];
    for (std::size_t i = 0; i < maps_.size(); ++i) {
        if (addr - maps_[i].iova < maps_[i].size) {  // unsigned: false below iova as well
            last_ = i;
            return &maps_[i];
        }
    }
    return nullptr;
}

template <typename Copy>
bool DmaSpace::walk(std::uint64_t addr, std::size_t bytes, std::uint32_t need, Copy copy)
{
    bool ok = true;
    std::size_t done = 0;
    while (done < bytes) {
        const std::uint64_t at = addr + done;
        std::size_t piece = std::min<std::size_t>(bytes - done, PAGE - at % PAGE);
        const Mapping *m = bus_master_ ? find(at) : nullptr;
        if (m && m->memory.data() && (m->prot & need)) {
            const std::uint64_t offset = at - m->iova;
            piece = static_cast<std::size_t>(std::min<std::uint64_t>(bytes - done, m->size - offset));
            copy(m->memory.data() + offset, done, piece);
        } else {
            copy(nullptr, done, piece);
            ok = false;
        }
        done += piece;
    }
    return ok;
}

bool DmaSpace::read(std::uint64_t addr, std::uint8_t *to, std::size_t bytes)
{
    return walk(addr, bytes, READ, [&](const std::uint8_t *host, std::size_t offset, std::size_t piece) {
        if (host)
            std::memcpy(to + offset, host, piece);
        else
            std::memset(to + offset, 0, piece);
    });
}

bool DmaSpace::write(std::uint64_t addr, const std::uint8_t *from, std::size_t bytes)
{
    // A reader that polls the phase bit in the first 8 bytes of an entry must find the rest in place.
    constexpr std::size_t WHOLE = 64, FIRST = 8;
    return walk(addr, bytes, WRITE, [&](std::uint8_t *host, std::size_t offset, std::size_t piece) {
        if (!host)
            return;
        if (bytes <= WHOLE && offset == 0 && piece > FIRST) {
            std::memcpy(host + FIRST, from + FIRST, piece - FIRST);
            if (reinterpret_cast<std::uintptr_t>(host) % FIRST == 0) {
                std::uint64_t first;
                std::memcpy(&first, from, FIRST);
                __atomic_store_n(reinterpret_cast<std::uint64_t *>(host), first, __ATOMIC_RELEASE);
            } else {
                std::atomic_thread_fence(std::memory_order_release);
                std::memcpy(host, from, FIRST);
            }
        } else if (piece == FIRST && reinterpret_cast<std::uintptr_t>(host) % FIRST == 0) {
            // Ring heads in the status block: both words at once.
            std::uint64_t word;
            std::memcpy(&word, from + offset, FIRST);
            __atomic_store_n(reinterpret_cast<std::uint64_t *>(host), word, __ATOMIC_RELEASE);
        } else {
            std::memcpy(host, from + offset, piece);
        }
        std::atomic_thread_fence(std::memory_order_release);
    });
}

}  // namespace nk
