#include "common/security.h"

#include <arpa/inet.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/certificates.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mutex.h"
#include "common/refusals.h"
#include "common/status_macros.h"
#include "grpcpp/security/auth_metadata_processor.h"
#include "grpcpp/security/tls_credentials_options.h"

namespace headrace {
namespace {

constexpr unsigned kCertificateRefreshSeconds = 2;
constexpr char kScheme[] = "Bearer ";
constexpr size_t kLeastTokenCharacters = 16;

absl::StatusOr<std::vector<std::string>> ReadTokens(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return absl::InvalidArgumentError(text.status().message());
  std::vector<std::string> tokens;
  for (const absl::string_view line : absl::StrSplit(*text, '\n')) {
    const absl::string_view token = absl::StripAsciiWhitespace(line);
    if (token.empty()) continue;
    for (const char c : token) {
      if (!absl::ascii_isgraph(static_cast<unsigned char>(c))) {
        return absl::InvalidArgumentError(absl::StrCat(path, ": expected a token of visible ASCII characters a line"));
      }
    }
    if (token.size() < kLeastTokenCharacters) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": expected tokens of at least ", kLeastTokenCharacters,
                                                     " characters, got one of ", token.size()));
    }
    tokens.emplace_back(token);
  }
  if (tokens.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": expected a token, got an empty file"));
  return tokens;
}

// In a time that does not tell how much of it was right.
bool SameText(absl::string_view a, absl::string_view b) {
  if (a.size() != b.size()) return false;
  unsigned difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

class TokenCheck final : public grpc::AuthMetadataProcessor {
 public:
  explicit TokenCheck(std::string path) : path_(std::move(path)) {}

  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* peer, OutputMetadata* consumed,
                       OutputMetadata*) override {
    const auto [first, last] = metadata.equal_range("authorization");
    if (first == last) return Refuse(*peer, "expected a token, got none");
    // A file that cannot be read, or not now, lets nobody in.
    const absl::StatusOr<std::vector<std::string>> tokens = ReadTokens(path_);
    if (!tokens.ok()) {
      // It may be there again the next time: a client that knows the token must not take this for a no.
      LogWarning("nobody is let in: %s", tokens.status().message());
      return grpc::Status(grpc::StatusCode::UNAVAILABLE, "this server cannot read its tokens at the moment");
    }
    for (auto given = first; given != last; ++given) {
      const std::string text(given->second.data(), given->second.size());
      bool accepted = false;
      for (const std::string& token : *tokens) accepted |= SameText(text, absl::StrCat(kScheme, token));
      if (!accepted) continue;
      consumed->emplace("authorization", text);
      return grpc::Status::OK;
    }
    return Refuse(*peer, "the token is none of this server's");
  }

 private:
  // Of the peer no address is known here, but the names that its certificate is for.
  static grpc::Status Refuse(const grpc::AuthContext& peer, const std::string& why) {
    std::vector<std::string> names;
    for (const grpc::string_ref& name : peer.GetPeerIdentity()) names.emplace_back(name.data(), name.size());
    CountRefusal(Refusal::kToken,
                 absl::StrCat("a call by the owner of the certificate for ", absl::StrJoin(names, ", ")));
    return grpc::Status(grpc::StatusCode::UNAUTHENTICATED, why);
  }

  const std::string path_;
};

class TokenOfCall final : public grpc::MetadataCredentialsPlugin {
 public:
  explicit TokenOfCall(std::string path) : path_(std::move(path)) {}

  bool IsBlocking() const override { return false; }

  grpc::Status GetMetadata(grpc::string_ref, grpc::string_ref, const grpc::AuthContext&,
                           std::multimap<std::string, std::string>* metadata) override {
    const absl::StatusOr<std::vector<std::string>> tokens = ReadTokens(path_);
    // UNAVAILABLE, because it may be there again the next time.
    if (!tokens.ok()) return grpc::Status(grpc::StatusCode::UNAVAILABLE, std::string(tokens.status().message()));
    metadata->emplace("authorization", absl::StrCat(kScheme, tokens->front()));
    return grpc::Status::OK;
  }

 private:
  const std::string path_;
};

bool IsLoopback(absl::string_view host) {
  in_addr address;  // big-endian
  if (::inet_pton(AF_INET, std::string(host).c_str(), &address) == 1) return (ntohl(address.s_addr) >> 24) == 127;
  return host == "localhost" || host == "[::1]";
}

std::shared_ptr<grpc::experimental::CertificateProviderInterface> Watch(const std::string& directory) {
  if (directory.empty()) return nullptr;
  return std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      directory + kKeyFile, directory + kCertificateFile, directory + kAuthorityFile, kCertificateRefreshSeconds);
}

struct Process {
  Mutex mutex;
  std::shared_ptr<const Security> security ABSL_GUARDED_BY(mutex);
};

// Never destroyed: other threads may connect while the process exits.
Process& TheProcess() {
  static auto* const process = new Process{.mutex = {}, .security = *Security::Create({})};
  return *process;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Security>> Security::Create(const SecurityOptions& options) {
  if (options.certificates.empty() != options.token_file.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--certificates and --token_file belong together: a token travels only where it is encrypted, and a "
        "certificate alone opens no door; got only ",
        options.certificates.empty() ? "--token_file" : "--certificates"));
  }
  if (!options.certificates.empty()) {
    RETURN_IF_ERROR(CheckCertificateFiles(options.certificates));
    RETURN_IF_ERROR(ReadTokens(options.token_file).status());
  }
  return std::shared_ptr<const Security>(new Security(options));
}

Security::Security(SecurityOptions options) : options_(std::move(options)), provider_(Watch(options_.certificates)) {}

absl::Status Security::CheckMayListen(const std::string& listen) const {
  const size_t colon = listen.rfind(':');
  if (colon == std::string::npos) return absl::OkStatus();  // it cannot be listened on anyway
  if (encrypts() || IsLoopback(listen.substr(0, colon))) return absl::OkStatus();
  if (options_.insecure) {
    LogWarning("--insecure: everybody is let in who reaches %s", listen);
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "others than this machine can reach ", listen,
      ": expected --certificates=DIR and --token_file=FILE (`tools/headrace certificates DIR` makes a set for trials), "
      "or --insecure to let everybody in who reaches the port"));
}

std::shared_ptr<grpc::ServerCredentials> Security::ForServer() const {
  if (!encrypts()) return grpc::InsecureServerCredentials();
  grpc::experimental::TlsServerCredentialsOptions options(provider_);
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::experimental::TlsServerCredentials(options);
  credentials->SetAuthMetadataProcessor(std::make_shared<TokenCheck>(options_.token_file));
  return credentials;
}

std::shared_ptr<grpc::ChannelCredentials> Security::ForChannel() const {
  if (!encrypts()) return grpc::InsecureChannelCredentials();
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(provider_);
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  return grpc::CompositeChannelCredentials(
      grpc::experimental::TlsCredentials(options),
      grpc::MetadataCredentialsFromPlugin(std::make_unique<TokenOfCall>(options_.token_file)));
}

std::string Security::Hint(const absl::Status& failure) const {
  if (!absl::IsUnavailable(failure)) return "";
  const std::string message = absl::AsciiStrToLower(failure.message());
  const auto says = [&](absl::string_view words) { return absl::StrContains(message, words); };
  if (encrypts() && says("certificate verify failed")) {
    return absl::StrCat(" (its certificate is not of the authority of ", options_.certificates, "/ca.crt)");
  }
  if (encrypts() && (says("hostname verification") || says("server name"))) {
    return absl::StrCat(" (its certificate is for other names: `tools/headrace certificates ", options_.certificates,
                        " --name NAME` issues one for this, too)");
  }
  if (!says("handshake") && !says("closed") && !says("reset")) return "";
  return encrypts()
             ? absl::StrCat(" (it may serve without certificates, or not accept ", options_.certificates, "/tls.crt)")
             : " (if it serves with certificates, it answers only where --certificates are given)";
}

void SetProcessSecurity(std::shared_ptr<const Security> security) {
  Process& process = TheProcess();
  MutexLock lock(&process.mutex);
  process.security = std::move(security);
}

std::shared_ptr<const Security> ProcessSecurity() {
  Process& process = TheProcess();
  MutexLock lock(&process.mutex);
  return process.security;
}

}  // namespace headrace
