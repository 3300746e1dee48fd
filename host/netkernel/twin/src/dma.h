// SPDX-License-Identifier: Apache-2.0
// Purpose: what a function may reach by DMA: bus addresses to memory that a client shared by file descriptor.
//
// Not locked: only the simulation thread copies, and others change the maps only while it stands still.

#ifndef NKTWIN_DMA_H
#define NKTWIN_DMA_H

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nk {

// Memory of somebody else, mapped here. Its owner may truncate the file at any time; then an access hits SIGBUS,
// which a handler answers by putting empty anonymous memory in the place of the whole mapping.
class SharedMemory {
public:
    SharedMemory() = default;
    SharedMemory(SharedMemory &&other) noexcept;
    SharedMemory &operator=(SharedMemory &&other) noexcept;
    SharedMemory(const SharedMemory &) = delete;
    SharedMemory &operator=(const SharedMemory &) = delete;
    ~SharedMemory();

    // 0 or -errno. prot: PROT_*; the file must be a memory file and hold the whole range.
    int map(int fd, std::uint64_t offset, std::size_t bytes, int prot);
    std::uint8_t *data() const { return data_; }
    std::size_t size() const { return bytes_; }
    // How often memory vanished under an access, all mappings of the process together.
    static std::uint64_t lost();

private:
    void unmap();

    std::uint8_t *data_ = nullptr;
    std::size_t bytes_ = 0;
    int guard_ = -1;  // index into the SIGBUS handler's table
};

class DmaSpace {
public:
    static constexpr std::uint32_t READ = 1, WRITE = 2;

    int map(std::uint64_t iova, std::uint64_t size, int fd, std::uint64_t offset, std::uint32_t prot);
    int unmap(std::uint64_t iova, std::uint64_t size);
    int clear();
    void set_bus_master(bool on) { bus_master_ = on; }

    // False when any byte could not be reached: those read as zeros.
    bool read(std::uint64_t addr, std::uint8_t *to, std::size_t bytes);
    // False when any byte could not be written: those vanish.
    bool write(std::uint64_t addr, const std::uint8_t *from, std::size_t bytes);

private:
    struct Mapping {
        std::uint64_t iova;
        std::uint64_t size;
        std::uint32_t prot;
        SharedMemory memory;  // empty: the client gave no file descriptor
    };

    const Mapping *find(std::uint64_t addr);
    // Calls copy(host pointer or nullptr, offset, bytes) for each piece of the range.
    template <typename Copy> bool walk(std::uint64_t addr, std::size_t bytes, std::uint32_t need, Copy copy);

    std::vector<Mapping> maps_;  // by iova
    std::size_t last_ = 0;       // where the last search ended
    bool bus_master_ = false;
};

}  // namespace nk

#endif
