#include "replay/checkpoint_testing.h"

#include <cstring>
#include <map>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/checksum.h"
#include "replay/checkpoint_file.h"

namespace headrace {

std::string Contents(Table& table) {
  const Table::Snapshot snapshot = table.TakeSnapshot();
  std::string text;
  const size_t bytes = table.layout().payload_bytes();
  const auto row = [&](RowStore::Address address) {
    return absl::BytesToHexString({reinterpret_cast<const char*>(table.rows().Row(address)) + 4, bytes});
  };
  for (const auto& [spec, state, items] : snapshot.tables) {
    absl::StrAppendFormat(&text, "%s: %d steps, %d items, %d sampled, %d removed, %d lost, priorities up to %g\n",
                          spec.name(), state.inserted_steps(), state.inserted_items(), state.sampled_items(),
                          state.removed_items(), state.lost_chunks(), state.max_priority());
    for (const Item& item : items) {
      absl::StrAppend(&text, "item sampled ", item.times_sampled, ", priority ", item.priority, ":");
      RowStore::Address address = item.first_row;
      for (uint16_t i = 0; i < item.rows; ++i, address = table.rows().Next(address))
        absl::StrAppend(&text, " ", row(address));
      text += "\n";
    }
  }
  std::map<uint64_t, std::string> writers;
  for (v1::WriterCheckpoint writer : snapshot.writers) {
    std::map<uint32_t, std::string> lanes;
    for (v1::LaneCheckpoint& lane : *writer.mutable_lanes()) {
      std::string window;
      for (const uint64_t address : lane.window()) absl::StrAppend(&window, " ", row(static_cast<uint32_t>(address)));
      lane.clear_window();
      lanes[lane.lane()] = lane.ShortDebugString() + window;
    }
    writer.clear_lanes();
    std::string& out = writers[writer.writer()];
    out = writer.ShortDebugString();
    for (const auto& [number, lane] : lanes) absl::StrAppend(&out, "\n  ", lane);
  }
  for (const auto& [id, writer] : writers) absl::StrAppend(&text, writer, "\n");
  return text;
}

Parts Split(const std::string& file) {
  uint64_t header_bytes;
  const size_t header_end = file.size() - kEndBytes;
  std::memcpy(&header_bytes, file.data() + header_end, sizeof(header_bytes));
  const size_t header_at = header_end - kHeaderChecksumBytes - header_bytes;
  Parts parts;
  EXPECT_TRUE(parts.header.ParseFromString(file.substr(header_at, header_bytes)));
  parts.body = file.substr(kTablesAt, header_at - kTablesAt);
  return parts;
}

std::string Join(const Parts& parts) {
  const std::string header = parts.header.SerializeAsString();
  std::string file(kCheckpointMagic);
  const auto append_number = [&](uint64_t number) {
    file.append(reinterpret_cast<const char*>(&number), sizeof(number));
  };
  if (parts.header.format() > kNewestFormatWithHeaderFirst) {
    append_number(kHeaderIsLast);
    file += parts.body + header;
    append_number(Checksum(header));
    append_number(header.size());
  } else {
    append_number(header.size());
    file += header + parts.body;
  }
  const uint64_t checksum = Checksum(file);
  file.append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
  return file;
}

}  // namespace headrace
