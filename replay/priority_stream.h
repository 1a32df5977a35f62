// The shard's end of the stream by which a learner's sampler sets the priorities of items it has learned from.
#ifndef HEADRACE_REPLAY_PRIORITY_STREAM_H_
#define HEADRACE_REPLAY_PRIORITY_STREAM_H_

#include <memory>

#include "common/server_stream.h"
#include "replay/shard.h"

namespace headrace {

// `shard` must outlive the stream.
std::shared_ptr<ServerStream> MakePriorityStream(Shard* shard);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_PRIORITY_STREAM_H_
