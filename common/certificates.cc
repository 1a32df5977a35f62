#include "common/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/status_macros.h"

namespace headrace {
namespace {

using Time = std::chrono::system_clock::time_point;

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};

using Bio = std::unique_ptr<BIO, Free<BIO_free_all>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;
using Store = std::unique_ptr<X509_STORE, Free<X509_STORE_free>>;
using Verification = std::unique_ptr<X509_STORE_CTX, Free<X509_STORE_CTX_free>>;

// OpenSSL would ask at the terminal.
int NoPassword(char*, int, int, void*) { return -1; }

absl::StatusOr<std::string> Read(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return absl::InvalidArgumentError(text.status().message());
  return text;
}

Bio Open(const std::string& text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

absl::StatusOr<std::vector<Certificate>> ReadCertificates(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, Read(path));
  const Bio file = Open(text);
  std::vector<Certificate> certificates;
  while (X509* const certificate = PEM_read_bio_X509(file.get(), nullptr, NoPassword, nullptr)) {
    certificates.emplace_back(certificate);
  }
  // The end of the file counts as an error, too.
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  if (certificates.empty() || ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected certificates in PEM, got something else"));
  }
  return certificates;
}

absl::StatusOr<Key> ReadKey(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, Read(path));
  Key key(PEM_read_bio_PrivateKey(Open(text).get(), nullptr, NoPassword, nullptr));
  ERR_clear_error();
  if (key == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected a private key in PEM without a password, got something else"));
  }
  return key;
}

Time ToTime(const ASN1_TIME* time) {
  std::tm parts = {};
  ASN1_TIME_to_tm(time, &parts);
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

// The certificates from the first one to its authority, which must be good for `purpose`, at whatever time.
absl::StatusOr<CertificateValidity> Verify(const std::vector<Certificate>& shown,
                                           const std::vector<Certificate>& authorities, int purpose) {
  const Store store(X509_STORE_new());
  for (const Certificate& authority : authorities) X509_STORE_add_cert(store.get(), authority.get());
  const std::unique_ptr<STACK_OF(X509), void (*)(STACK_OF(X509)*)> between(
      sk_X509_new_null(), [](STACK_OF(X509) * stack) { sk_X509_free(stack); });
  for (size_t i = 1; i < shown.size(); ++i) sk_X509_push(between.get(), shown[i].get());
  const Verification verification(X509_STORE_CTX_new());
  X509_STORE_CTX_init(verification.get(), store.get(), shown.front().get(), between.get());
  // The first two as gRPC verifies its peers.
  X509_STORE_CTX_set_flags(verification.get(),
                           X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_NO_CHECK_TIME);
  X509_STORE_CTX_set_purpose(verification.get(), purpose);
  const bool accepted = X509_verify_cert(verification.get()) == 1;
  ERR_clear_error();
  if (!accepted) {
    return absl::InvalidArgumentError(X509_verify_cert_error_string(X509_STORE_CTX_get_error(verification.get())));
  }
  CertificateValidity validity = {Time::min(), Time::max()};
  const STACK_OF(X509)* const chain = X509_STORE_CTX_get0_chain(verification.get());
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    const X509* const certificate = sk_X509_value(chain, i);
    validity.begin = std::max(validity.begin, ToTime(X509_get0_notBefore(certificate)));
    validity.end = std::min(validity.end, ToTime(X509_get0_notAfter(certificate)));
  }
  return validity;
}

std::string Format(Time time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts = {};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &parts)};
}

}  // namespace

absl::Status CheckCertificateFiles(const std::string& directory) {
  RETURN_IF_ERROR(ReadCertificates(directory + kAuthorityFile).status());
  ASSIGN_OR_RETURN(const std::vector<Certificate> shown, ReadCertificates(directory + kCertificateFile));
  ASSIGN_OR_RETURN(const Key key, ReadKey(directory + kKeyFile));
  const bool its = X509_check_private_key(shown.front().get(), key.get()) == 1;
  ERR_clear_error();
  if (its) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(directory, kKeyFile, ": expected the key of the certificate in ",
                                                 directory, kCertificateFile, ", got another one's"));
}

absl::StatusOr<CertificateValidity> ReadCertificateValidity(const std::string& directory) {
  RETURN_IF_ERROR(CheckCertificateFiles(directory));
  ASSIGN_OR_RETURN(const std::vector<Certificate> shown, ReadCertificates(directory + kCertificateFile));
  ASSIGN_OR_RETURN(const std::vector<Certificate> authorities, ReadCertificates(directory + kAuthorityFile));
  absl::StatusOr<CertificateValidity> validity = absl::InternalError("no purpose");
  for (const int purpose : {X509_PURPOSE_SSL_SERVER, X509_PURPOSE_SSL_CLIENT}) {
    validity = Verify(shown, authorities, purpose);
    if (validity.ok()) continue;
    return absl::InvalidArgumentError(absl::StrCat(directory, kCertificateFile, ": expected a certificate that ",
                                                   directory, kAuthorityFile, " vouches for as one of a ",
                                                   purpose == X509_PURPOSE_SSL_SERVER ? "server" : "client",
                                                   ", got: ", validity.status().message()));
  }
  return validity;
}

absl::Status CheckCertificates(const std::string& directory, Time now, const std::vector<std::string>& names) {
  ASSIGN_OR_RETURN(const CertificateValidity validity, ReadCertificateValidity(directory));
  if (now < validity.begin || now >= validity.end) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory, ": expected certificates that are valid now, got one that ",
                     now < validity.begin ? absl::StrCat("is not valid before ", Format(validity.begin))
                                          : absl::StrCat("has expired, at ", Format(validity.end))));
  }
  ASSIGN_OR_RETURN(const std::vector<Certificate> shown, ReadCertificates(directory + kCertificateFile));
  for (const std::string& name : names) {
    if (X509_check_host(shown.front().get(), name.data(), name.size(), 0, nullptr) == 1) continue;
    if (X509_check_ip_asc(shown.front().get(), name.c_str(), 0) == 1) continue;
    return absl::InvalidArgumentError(absl::StrCat(directory, kCertificateFile, ": expected a certificate that is for ",
                                                   name, ", where processes look for each other, got one that is not"));
  }
  return absl::OkStatus();
}

}  // namespace headrace
