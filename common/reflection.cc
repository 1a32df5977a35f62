#include "common/reflection.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/byte_buffer.h"
#include "common/server_stream.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "grpcpp/impl/server_builder_plugin.h"
#include "grpcpp/impl/server_initializer.h"
#include "proto/reflection.grpc.pb.h"
#include "proto/reflection.pb.h"

namespace headrace {
namespace {

namespace v1alpha = grpc::reflection::v1alpha;

// With what it imports, each once.
void AddFile(const google::protobuf::FileDescriptor* file, std::set<const google::protobuf::FileDescriptor*>& added,
             v1alpha::FileDescriptorResponse& response) {
  if (!added.insert(file).second) return;
  google::protobuf::FileDescriptorProto description;
  file->CopyTo(&description);
  response.add_file_descriptor_proto(description.SerializeAsString());
  for (int i = 0; i < file->dependency_count(); ++i) AddFile(file->dependency(i), added, response);
}

void SetError(const absl::Status& error, v1alpha::ServerReflectionResponse& response) {
  response.mutable_error_response()->set_error_code(static_cast<int>(error.code()));
  response.mutable_error_response()->set_error_message(std::string(error.message()));
}

void AddFileOrError(const google::protobuf::FileDescriptor* file, const std::string& name,
                    v1alpha::ServerReflectionResponse& response) {
  if (file == nullptr) return SetError(absl::NotFoundError(absl::StrCat("no ", name, " in this program")), response);
  std::set<const google::protobuf::FileDescriptor*> added;
  AddFile(file, added, *response.mutable_file_descriptor_response());
}

v1alpha::ServerReflectionResponse Answer(const v1alpha::ServerReflectionRequest& request,
                                         const std::vector<std::string>& services) {
  const google::protobuf::DescriptorPool& pool = *google::protobuf::DescriptorPool::generated_pool();
  v1alpha::ServerReflectionResponse response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  if (request.has_file_by_filename()) {
    AddFileOrError(pool.FindFileByName(request.file_by_filename()), request.file_by_filename(), response);
  } else if (request.has_file_containing_symbol()) {
    const std::string& symbol = request.file_containing_symbol();
    AddFileOrError(pool.FindFileContainingSymbol(symbol), symbol, response);
  } else if (request.has_list_services()) {
    for (const std::string& name : services) response.mutable_list_services_response()->add_service()->set_name(name);
  } else {
    SetError(absl::UnimplementedError("expected the name of a file or a symbol, or list_services"), response);
  }
  return response;
}

class Stream final : public ServerStream {
 public:
  explicit Stream(const std::vector<std::string>* services) : services_(services) {}

 private:
  void OnMessage(const grpc::ByteBuffer& message) override {
    v1alpha::ServerReflectionRequest request;
    if (const absl::Status status = FromByteBuffer(message, request); !status.ok()) return Close(status);
    Send(ToByteBuffer(Answer(request, *services_)));
  }
  // One answer at a time: they are much longer than what they are asked for with.
  void OnSent() override { ReadNext(); }

  const std::vector<std::string>* const services_;
};

class Service final
    : public v1alpha::ServerReflection::WithRawCallbackMethod_ServerReflectionInfo<v1alpha::ServerReflection::Service> {
 public:
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* ServerReflectionInfo(
      grpc::CallbackServerContext* context) override {
    return ServerStream::Start(context, std::make_shared<Stream>(&names));
  }

  std::vector<std::string> names;  // of all services of the server; constant once it has been built
};

class Plugin final : public grpc::ServerBuilderPlugin {
 public:
  std::string name() override { return "headrace_reflection"; }
  void InitServer(grpc::ServerInitializer* server) override { server->RegisterService(service_); }
  void Finish(grpc::ServerInitializer* server) override { service_->names = *server->GetServiceList(); }
  void ChangeArguments(const std::string&, void*) override {}

 private:
  const std::shared_ptr<Service> service_ = std::make_shared<Service>();
};

class Option final : public grpc::ServerBuilderOption {
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    plugins->push_back(std::make_unique<Plugin>());
  }
};

}  // namespace

std::unique_ptr<grpc::ServerBuilderOption> ReflectionOption() { return std::make_unique<Option>(); }

}  // namespace headrace
