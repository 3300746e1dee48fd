// SPDX-License-Identifier: Apache-2.0
// Purpose: pcap writer; see pcap.h.

#include "pcap.h"

#include <cerrno>

#include <unistd.h>

namespace nk {

namespace {

constexpr std::size_t BUFFER = 1 << 20;
constexpr std::uint32_t LINKTYPE_ETHERNET = 1;

struct FileHeader {
    std::uint32_t magic = 0xa1b2c3d4;
    std::uint16_t major = 2, minor = 4;
    std::int32_t zone = 0;
    std::uint32_t accuracy = 0;
    std::uint32_t snap_length = 65535;
    std::uint32_t link_type = LINKTYPE_ETHERNET;
};

struct RecordHeader {
    std::uint32_t seconds, microseconds, captured, length;
};

}  // namespace

int Pcap::start(int fd)
{
    stop();
    file_ = fdopen(fd, "wb");
    if (!file_) {
        const int error = errno;
        close(fd);
        return -error;
    }
    std::setvbuf(file_, nullptr, _IOFBF, BUFFER);
    const FileHeader header;
    std::fwrite(&header, sizeof(header), 1, file_);
    if (std::fflush(file_) != 0) {
        const int error = errno;
        stop();
        return -error;
    }
    return 0;
}

void Pcap::stop()
{
    if (file_)
        std::fclose(file_);
    file_ = nullptr;
    dirty_ = false;
}

void Pcap::write(const Frame &frame, std::uint64_t time_us)
{
    const RecordHeader header{static_cast<std::uint32_t>(time_us / 1000000),
                              static_cast<std::uint32_t>(time_us % 1000000), frame.bytes, frame.bytes};
    dirty_ = true;
    if (std::fwrite(&header, sizeof(header), 1, file_) != 1 ||
        std::fwrite(frame.data, 1, frame.bytes, file_) != frame.bytes)
        stop();
}

void Pcap::flush()
{
    if (dirty_ && std::fflush(file_) != 0)
        stop();
    dirty_ = false;
}

}  // namespace nk
