// The shard's end of one writer's stream: commits chunks in order, acknowledges them together, and stops reading while
// the insert limit is reached.
#ifndef HEADRACE_REPLAY_INSERT_STREAM_H_
#define HEADRACE_REPLAY_INSERT_STREAM_H_

#include <memory>

#include "common/server_stream.h"
#include "replay/shard.h"

namespace headrace {

// `shard` must outlive the stream.
std::shared_ptr<ServerStream> MakeInsertStream(Shard* shard);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_INSERT_STREAM_H_
