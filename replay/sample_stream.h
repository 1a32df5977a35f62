// The shard's end of one sampler's stream: answers requests in order, each gathered into messages of about 1 MiB. While
// a request waits for items, the ones behind it wait too; a timer ends its wait. A request also waits while too much
// that was sent to the client's host is still unread (StreamLimits).
#ifndef HEADRACE_REPLAY_SAMPLE_STREAM_H_
#define HEADRACE_REPLAY_SAMPLE_STREAM_H_

#include <memory>

#include "common/server_stream.h"
#include "replay/shard.h"

namespace headrace {

// What one request may make the shard hold in messages.
inline constexpr size_t kMaxBatchBytes = size_t{1} << 30;

// `shard` must outlive the stream.
std::shared_ptr<ServerStream> MakeSampleStream(Shard* shard);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SAMPLE_STREAM_H_
