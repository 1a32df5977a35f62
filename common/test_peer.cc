#include "common/test_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>

#include "gtest/gtest.h"

namespace headrace {
namespace {

// RFC 9113, section 4.1.
std::string Frame(char type, char flags, char stream, const std::string& payload) {
  std::string frame(9, '\0');
  frame[1] = static_cast<char>(payload.size() >> 8);
  frame[2] = static_cast<char>(payload.size());
  frame[3] = type;
  frame[4] = flags;
  frame[8] = stream;
  return frame + payload;
}

// RFC 7541, section 6.2.2: a literal that enters no table.
std::string Header(const std::string& name, const std::string& value) {
  std::string header(1, '\0');
  for (const std::string& text : {name, value}) header += static_cast<char>(text.size()) + text;
  return header;
}

}  // namespace

TestPeer::TestPeer(const std::string& address, const char* from) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in local = {}, server = {};
  local.sin_family = server.sin_family = AF_INET;
  ::inet_pton(AF_INET, from, &local.sin_addr);
  const size_t colon = address.rfind(':');
  if (::inet_pton(AF_INET, address.substr(0, colon).c_str(), &server.sin_addr) != 1) {
    ::inet_pton(AF_INET, "127.0.0.1", &server.sin_addr);
  }
  server.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
  EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&local), sizeof(local)), 0);
  const int at_once = 1;
  EXPECT_EQ(::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(at_once)), 0);
  (void)::connect(socket_, reinterpret_cast<sockaddr*>(&server), sizeof(server));
}

TestPeer::~TestPeer() { ::close(socket_); }

void TestPeer::Send(std::string_view bytes) const {
  // It may have been hung up on.
  (void)::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

void TestPeer::Finish() const { (void)::shutdown(socket_, SHUT_WR); }

bool TestPeer::Answered() const {
  char byte;
  return ::recv(socket_, &byte, 1, 0) == 1;
}

std::string TestPeer::Rest() const {
  std::string rest;
  char buffer[4096];
  for (ssize_t size; (size = ::recv(socket_, buffer, sizeof(buffer), 0)) > 0;) rest.append(buffer, size);
  return rest;
}

std::string Http2Opening() { return "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(/*type=*/4, 0, 0, ""); }

std::string Http2Call(const std::string& path) {
  constexpr char kHeaders = 1, kEndHeaders = 4;
  return Http2Opening() + Frame(kHeaders, kEndHeaders, 1,
                                Header(":method", "POST") + Header(":scheme", "http") + Header(":path", path) +
                                    Header(":authority", "test") + Header("content-type", "application/grpc") +
                                    Header("te", "trailers"));
}

}  // namespace headrace
