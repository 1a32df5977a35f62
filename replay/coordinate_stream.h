// The shard's end of the stream by which a learner's sampler grants insert credits and follows the table's growth.
#ifndef HEADRACE_REPLAY_COORDINATE_STREAM_H_
#define HEADRACE_REPLAY_COORDINATE_STREAM_H_

#include <memory>

#include "common/server_stream.h"
#include "replay/shard.h"

namespace headrace {

// `shard` must outlive the stream.
std::shared_ptr<ServerStream> MakeCoordinateStream(Shard* shard);

}  // namespace headrace

#endif  // HEADRACE_REPLAY_COORDINATE_STREAM_H_
