// Generated floor plans of one storey, and what a robot with a laser scanner needs to know of them. Lengths are in
// metres, the origin is a corner, and (x, y) lies in the cell (x / kCellSize, y / kCellSize).
//
//   const LaserMap map = LaserMap::Generate(7);      // the same for 7 on every machine
//   if (!map.Touches(x, y, 0.2)) ahead = map.Ray(x, y, 1, 0, 5.0);
//
// Thread-safe: a map does not change.
#ifndef HEADRACE_ACTOR_ENV_LASER_MAP_H_
#define HEADRACE_ACTOR_ENV_LASER_MAP_H_

#include <array>
#include <cstdint>
#include <vector>

namespace headrace {

class LaserMap {
 public:
  static constexpr int kCells = 48;  // in each direction; the outermost are walls
  static constexpr double kCellSize = 0.25;

  struct Cell {
    int column = 0;
    int row = 0;

    double x() const { return (column + 0.5) * kCellSize; }
    double y() const { return (row + 0.5) * kCellSize; }
    bool operator==(const Cell&) const = default;
  };

  // Lengths of the shortest ways to one cell, from each cell; infinite from where there is none.
  class Distances {
   public:
    // From a point, by way of the best centre of a cell around it.
    double At(double x, double y) const;
    double At(Cell cell) const { return from_[cell.row * kCells + cell.column]; }

   private:
    friend class LaserMap;
    std::array<float, kCells * kCells> from_;
  };

  // Rooms with doors on both sides of a corridor, and furniture. All open cells are connected.
  static LaserMap Generate(uint64_t number);

  bool occupied(Cell cell) const { return (rows_[cell.row] >> cell.column & 1) != 0; }

  // The way from an open point in the direction of the unit vector to the nearest wall, at most `range`.
  double Ray(double x, double y, double direction_x, double direction_y, double range) const;

  // Whether a disc, its centre in the map, overlaps a wall.
  bool Touches(double x, double y, double radius) const;

  // The open cells without a wall around them, and the shortest ways over their centres, which a disc of a radius below
  // 0.375 can go.
  const std::vector<Cell>& roomy() const { return roomy_; }
  Distances DistancesTo(Cell goal) const;

  bool operator==(const LaserMap& other) const { return rows_ == other.rows_; }

 private:
  class Builder;
  using Rows = std::array<uint64_t, kCells>;  // bit i: the cell in column i is a wall

  explicit LaserMap(const Rows& rows);

  bool IsRoomy(Cell cell) const;

  Rows rows_;
  std::vector<Cell> roomy_;
};

}  // namespace headrace

#endif  // HEADRACE_ACTOR_ENV_LASER_MAP_H_
