// Certificates made with the openssl command line, as `tools/headrace certificates` does.
#include "common/certificates.h"

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headrace {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

constexpr char kNewKey[] = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";

class CertificatesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    MakeAuthority(path());
    Issue(path(), "", 2);
  }

  const std::string& path() const { return directory_.path(); }

  void Openssl(const std::string& command) const {
    ASSERT_EQ(std::system(absl::StrCat("cd ", path(), " && openssl ", command, " 2>/dev/null >&2").c_str()), 0)
        << command;
  }
  void MakeAuthority(const std::string& where, int days = 2) const {
    std::filesystem::create_directories(where);
    Openssl(absl::StrCat("req -x509 ", kNewKey, " -days ", days, " -subj /CN=authority -keyout ", where,
                         "/ca.key -out ", where, "/ca.crt"));
  }
  // Of the authority there.
  void Issue(const std::string& authority, const std::string& extensions, int days) const {
    // Which of several authorities of one name it is of, only the key tells.
    const std::string identifier = "authorityKeyIdentifier=keyid\n";
    ASSERT_TRUE(WriteFileAtomically(path() + "/extensions", absl::StrCat(identifier, extensions, "\n")).ok());
    Openssl(absl::StrCat("req ", kNewKey, " -subj /CN=process -keyout tls.key -out request"));
    Openssl(absl::StrCat("x509 -req -in request -CA ", authority, "/ca.crt -CAkey ", authority,
                         "/ca.key -CAcreateserial -days ", days, " -extfile extensions -out tls.crt"));
  }
  std::string Mistake(std::chrono::system_clock::time_point now = std::chrono::system_clock::now()) const {
    const absl::Status status = CheckCertificates(path(), now);
    EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
    return std::string(status.message());
  }

 private:
  const TestDirectory directory_;
};

TEST_F(CertificatesTest, AMatchingSetIsAccepted) { EXPECT_EQ(Mistake(), ""); }

TEST_F(CertificatesTest, FilesThatAreMissingOrHoldSomethingElseAreNamed) {
  for (const char* file : {"ca.crt", "tls.crt", "tls.key"}) {
    const std::string name = absl::StrCat(path(), "/", file);
    const std::string before = *ReadFile(name);
    for (const std::string& text : {std::string("no PEM"), std::string(), before.substr(0, before.size() / 2)}) {
      ASSERT_TRUE(WriteFileAtomically(name, text).ok());
      EXPECT_THAT(Mistake(), AllOf(HasSubstr(name), HasSubstr("expected"))) << text;
    }
    std::filesystem::remove(name);
    EXPECT_THAT(Mistake(), HasSubstr(name));
    ASSERT_TRUE(WriteFileAtomically(name, before).ok());
  }
  EXPECT_EQ(Mistake(), "");
}

TEST_F(CertificatesTest, AKeyOfAnotherCertificateIsRefused) {
  Openssl("ecparam -genkey -name prime256v1 -out tls.key");
  EXPECT_THAT(Mistake(), HasSubstr("tls.key: expected the key of the certificate"));
}

TEST_F(CertificatesTest, AKeyWithAPasswordIsRefusedAndNobodyIsAskedForIt) {
  Openssl("ec -in tls.key -aes128 -passout pass:secret -out locked && mv locked tls.key");
  EXPECT_THAT(Mistake(), HasSubstr("without a password"));
}

TEST_F(CertificatesTest, ACertificateOfAnotherAuthorityIsRefused) {
  MakeAuthority(path() + "/other");
  Issue(path() + "/other", "", 2);
  EXPECT_THAT(Mistake(), HasSubstr("vouches for"));
  // While the authority is replaced, both are accepted.
  const std::string both = *ReadFile(path() + "/ca.crt") + *ReadFile(path() + "/other/ca.crt");
  ASSERT_TRUE(WriteFileAtomically(path() + "/ca.crt", both).ok());
  EXPECT_EQ(Mistake(), "");
}

TEST_F(CertificatesTest, ACertificateForServersAloneIsRefused) {
  Issue(path(), "extendedKeyUsage=serverAuth", 2);
  EXPECT_THAT(Mistake(), HasSubstr("as one of a client"));
  Issue(path(), "extendedKeyUsage=serverAuth,clientAuth", 2);
  EXPECT_EQ(Mistake(), "");
}

TEST_F(CertificatesTest, TheTimeInWhichTheyAreValidEndsWithTheFirstOfThem) {
  Issue(path(), "", 30);  // the authority ends in two days
  const CertificateValidity validity = *ReadCertificateValidity(path());
  const auto now = std::chrono::system_clock::now();
  EXPECT_GT(validity.end, now + std::chrono::hours(24));
  EXPECT_LT(validity.end, now + std::chrono::hours(72));
  EXPECT_EQ(Mistake(validity.begin), "");
  EXPECT_EQ(Mistake(validity.end - std::chrono::seconds(1)), "");
  EXPECT_THAT(Mistake(validity.end), ContainsRegex("expected .* valid now, got one that has expired, at 20.* UTC"));
  EXPECT_THAT(Mistake(validity.begin - std::chrono::seconds(1)),
              ContainsRegex("got one that is not valid before 20.* UTC"));
}

TEST_F(CertificatesTest, MustBeForTheNamesByWhichOthersLookForIt) {
  Issue(path(), "subjectAltName=DNS:*.example.org,IP:127.0.0.1,IP:::1", 2);
  const auto check = [&](const std::vector<std::string>& names) {
    return CheckCertificates(path(), std::chrono::system_clock::now(), names);
  };
  EXPECT_TRUE(check({"127.0.0.1", "::1", "node1.example.org"}).ok());
  const absl::Status other = check({"127.0.0.1", "node1.example.com"});
  EXPECT_TRUE(absl::IsInvalidArgument(other));
  EXPECT_THAT(other.message(), HasSubstr("tls.crt: expected a certificate that is for node1.example.com"));
  EXPECT_FALSE(check({"10.0.0.1"}).ok());
}

}  // namespace
}  // namespace headrace
