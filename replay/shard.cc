#include "replay/shard.h"

#include <algorithm>
#include <new>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/log.h"
#include "common/protocol.h"
#include "common/status_macros.h"
#include "google/protobuf/util/message_differencer.h"
#include "replay/redistribution.h"

namespace headrace {

v1::InfoResponse Shard::Info() const {
  MutexLock lock(&mutex_);
  v1::InfoResponse info;
  info.set_protocol_version(kProtocolVersion);
  info.set_run_id(run_id_);
  info.set_shard(number_);
  info.set_incarnation(incarnation_);
  info.set_budget_bytes(budget_bytes_);
  info.set_restored_from(restored_from_);
  for (const auto& [name, table] : tables_) {
    v1::TableInfo& entry = *info.add_tables();
    *entry.mutable_spec() = table->spec();
    *entry.mutable_state() = table->State();
    if (!table->spec().over().empty()) continue;  // its writers are those of that one
    for (const v1::WriterInfo& writer : table->Writers()) *info.add_writers() = writer;
  }
  return info;
}

std::string Shard::run_id() const {
  MutexLock lock(&mutex_);
  return run_id_;
}

std::string Shard::restored_from() const {
  MutexLock lock(&mutex_);
  return restored_from_;
}

absl::Status Shard::CheckPeer(const v1::Peer& peer) const { return headrace::CheckPeer(peer, run_id()); }

absl::StatusOr<Table*> Shard::FindSame(const v1::Peer& peer, const v1::TableSpec& spec) const {
  MutexLock lock(&mutex_);
  RETURN_IF_ERROR(headrace::CheckPeer(peer, run_id_));
  const auto existing = tables_.find(spec.name());
  if (existing == tables_.end()) return nullptr;
  google::protobuf::util::MessageDifferencer differencer;
  std::string difference;
  differencer.ReportDifferencesToString(&difference);
  if (!differencer.Compare(existing->second->spec(), spec)) {
    return absl::FailedPreconditionError(
        absl::StrFormat("table \"%s\" exists with another specification: %s", spec.name(), difference));
  }
  return existing->second.get();
}

absl::StatusOr<std::unique_ptr<Table>> Shard::MakeTable(const v1::Peer& peer, const v1::TableSpec& spec,
                                                        const v1::Redistribution* redistribution) {
  uint64_t taken = 0;
  for (const v1::TableSpec& other : Specs()) taken += other.max_bytes();
  if (spec.max_bytes() > budget_bytes_ - taken) {
    return absl::FailedPreconditionError(absl::StrFormat("table \"%s\" wants %d bytes, but the shard has %d of %d left",
                                                         spec.name(), spec.max_bytes(), budget_bytes_ - taken,
                                                         budget_bytes_));
  }
  const Table* over = nullptr;
  if (!spec.over().empty()) {
    ASSIGN_OR_RETURN(over, FindTable(spec.over()));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<Table> table, Table::Create(spec, number_, incarnation_, over));
  LogInfo("table \"%s\" created by %s: %d bytes, %d items", spec.name(), peer.name(), spec.max_bytes(),
          spec.max_items());
  if (redistribution == nullptr) return table;
  absl::Status filled;
  try {
    filled = TakeShare(*redistribution, peer.run_id(), number_, *table);
  } catch (const std::bad_alloc&) {
    filled = absl::ResourceExhaustedError("there is no memory for its books");
  }
  if (filled.ok()) return table;
  LogError("checkpoint %s cannot be spread over the shards there are now, what table \"%s\" held is lost: %s",
           redistribution->name(), spec.name(), filled.ToString());
  return Table::Create(spec, number_, incarnation_, over);
}

absl::StatusOr<Table*> Shard::CreateTable(const v1::Peer& peer, const v1::TableSpec& spec,
                                          const v1::Redistribution* redistribution) {
  // Whoever asks again while a table is being filled must not take a thread each time.
  if (!creating_.TryLock()) return absl::UnavailableError("a table is being created: try again");
  const absl::StatusOr<Table*> table = CreateTableAlone(peer, spec, redistribution);
  creating_.Unlock();
  return table;
}

absl::StatusOr<Table*> Shard::CreateTableAlone(const v1::Peer& peer, const v1::TableSpec& spec,
                                               const v1::Redistribution* redistribution) {
  ASSIGN_OR_RETURN(Table* const same, FindSame(peer, spec));
  if (same != nullptr) return same;
  ASSIGN_OR_RETURN(std::unique_ptr<Table> table, MakeTable(peer, spec, redistribution));
  MutexLock lock(&mutex_);
  if (run_id_.empty()) run_id_ = peer.run_id();
  if (redistribution != nullptr) restored_from_ = redistribution->name();
  if (journal_ != nullptr) journal_->AddTable(run_id_, spec);
  // The journal has it before a chunk with items for it.
  if (!spec.over().empty()) table->Join();
  return tables_.emplace(spec.name(), std::move(table)).first->second.get();
}

absl::StatusOr<Table*> Shard::FindTable(const std::string& name) const {
  MutexLock lock(&mutex_);
  const auto found = tables_.find(name);
  if (found != tables_.end()) return found->second.get();
  return absl::NotFoundError(absl::StrFormat(
      "there is no table \"%s\" on shard %d; its tables: %s", name, number_,
      absl::StrJoin(tables_, ", ", [](std::string* out, const auto& entry) { out->append(entry.first); })));
}

absl::StatusOr<Table*> Shard::FindTableWithRows(const std::string& name) const {
  ASSIGN_OR_RETURN(Table* const table, FindTable(name));
  const std::string& over = table->spec().over();
  if (over.empty()) return table;
  return absl::InvalidArgumentError(
      absl::StrFormat("table \"%s\" is over the rows of table \"%s\": write to that one", name, over));
}

std::vector<Table*> Shard::Tables() const {
  MutexLock lock(&mutex_);
  std::vector<Table*> tables;
  for (const auto& [name, table] : tables_) tables.push_back(table.get());
  std::stable_partition(tables.begin(), tables.end(), [](const Table* table) { return table->spec().over().empty(); });
  return tables;
}

std::vector<v1::TableSpec> Shard::Specs() const {
  std::vector<v1::TableSpec> specs;
  for (const Table* const table : Tables()) specs.push_back(table->spec());
  return specs;
}

void Shard::SetJournal(std::unique_ptr<Journal> journal) {
  journal_ = std::move(journal);
  journal_->TellDurable([this](uint64_t entries) {
    for (Table* const table : Tables()) table->SetDurable(entries);
  });
  for (const v1::TableSpec& spec : Specs()) journal_->AddTable(run_id(), spec);
}

void Shard::Clear() {
  MutexLock lock(&mutex_);
  tables_.clear();
  run_id_.clear();
}

void Shard::SetRestored(const std::string& run_id, const std::string& checkpoint) {
  MutexLock lock(&mutex_);
  run_id_ = run_id;
  restored_from_ = checkpoint;
}

}  // namespace headrace
