#include "common/reflection.h"

#include <dirent.h>

#include <memory>
#include <string>
#include <vector>

#include "common/grpc_server.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.pb.h"
#include "grpcpp/client_context.h"
#include "gtest/gtest.h"
#include "proto/reflection.grpc.pb.h"
#include "proto/run.grpc.pb.h"

namespace headrace {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

namespace v1alpha = grpc::reflection::v1alpha;

size_t Threads() {
  size_t threads = 0;
  DIR* const directory = ::opendir("/proc/self/task");
  while (::readdir(directory) != nullptr) ++threads;
  ::closedir(directory);
  return threads;
}

// A client's stream, open for as long as it lives.
class Stream {
 public:
  explicit Stream(const std::shared_ptr<grpc::Channel>& channel)
      : stream_(v1alpha::ServerReflection::NewStub(channel)->ServerReflectionInfo(&context_)) {}
  ~Stream() {
    context_.TryCancel();
    (void)stream_->Finish();
  }
  v1alpha::ServerReflectionResponse Ask(const v1alpha::ServerReflectionRequest& request) {
    v1alpha::ServerReflectionResponse response;
    EXPECT_TRUE(stream_->Write(request) && stream_->Read(&response));
    return response;
  }

 private:
  grpc::ClientContext context_;
  const std::unique_ptr<grpc::ClientReaderWriter<v1alpha::ServerReflectionRequest, v1alpha::ServerReflectionResponse>>
      stream_;
};

class ReflectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<GrpcServer>> server = GrpcServer::Start("127.0.0.1:0", {&service_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  std::shared_ptr<grpc::Channel> Connect() const { return MakeChannel(server_->address()); }

  v1::Run::Service service_;
  std::unique_ptr<GrpcServer> server_;
};

TEST_F(ReflectionTest, NamesTheServicesOfTheServer) {
  v1alpha::ServerReflectionRequest request;
  request.set_list_services("*");
  const v1alpha::ServerReflectionResponse response = Stream(Connect()).Ask(request);
  std::vector<std::string> names;
  for (const v1alpha::ServiceResponse& service : response.list_services_response().service()) {
    names.push_back(service.name());
  }
  EXPECT_THAT(names, ElementsAre("headrace.v1.Run", "grpc.reflection.v1alpha.ServerReflection"));
  EXPECT_EQ(response.original_request().list_services(), "*");
}

TEST_F(ReflectionTest, DescribesAServiceWithAllThatItsFileImports) {
  Stream stream(Connect());
  for (const bool by_symbol : {true, false}) {
    v1alpha::ServerReflectionRequest request;
    by_symbol ? request.set_file_containing_symbol("headrace.v1.Run") : request.set_file_by_filename("proto/run.proto");
    const v1alpha::ServerReflectionResponse response = stream.Ask(request);
    std::vector<std::string> files;
    for (const std::string& bytes : response.file_descriptor_response().file_descriptor_proto()) {
      google::protobuf::FileDescriptorProto file;
      ASSERT_TRUE(file.ParseFromString(bytes));
      files.push_back(file.name());
    }
    EXPECT_THAT(files, IsSupersetOf({"proto/run.proto", "proto/replay.proto", "proto/column.proto"}));
  }
}

TEST_F(ReflectionTest, SaysWhatItDoesNotKnowAndGoesOn) {
  Stream stream(Connect());
  v1alpha::ServerReflectionRequest request;
  EXPECT_EQ(stream.Ask(request).error_response().error_code(), grpc::StatusCode::UNIMPLEMENTED);
  request.set_file_containing_symbol("nobody.knows.It");
  const v1alpha::ErrorResponse error = stream.Ask(request).error_response();
  EXPECT_EQ(error.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(error.error_message(), HasSubstr("nobody.knows.It"));
}

// Each of them had a thread of its own, and who wanted could have as many as he liked.
TEST_F(ReflectionTest, StreamsCostNoThreads) {
  v1alpha::ServerReflectionRequest request;
  request.set_list_services("*");
  std::vector<std::unique_ptr<Stream>> streams;
  std::shared_ptr<grpc::Channel> channel = Connect();
  streams.push_back(std::make_unique<Stream>(channel));
  streams.back()->Ask(request);
  const size_t before = Threads();
  for (int i = 0; i < 60; ++i) {
    streams.push_back(std::make_unique<Stream>(channel));
    streams.back()->Ask(request);  // and now the server waits for the next question
  }
  EXPECT_LT(Threads(), before + 30);
}

}  // namespace
}  // namespace headrace
