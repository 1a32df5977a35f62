// The gRPC face of a shard.
#ifndef HEADRACE_REPLAY_SERVICE_H_
#define HEADRACE_REPLAY_SERVICE_H_

#include <memory>
#include <string>

#include "common/server_stream.h"
#include "grpcpp/impl/codegen/service_type.h"
#include "replay/shard.h"

namespace headrace {

// `shard` must outlive the service. An empty directory: checkpoints are refused.
std::unique_ptr<grpc::Service> MakeReplayService(Shard* shard, const std::string& checkpoint_directory,
                                                 const StreamLimits& limits = {});

}  // namespace headrace

#endif  // HEADRACE_REPLAY_SERVICE_H_
