-- stackctl's account, for backups and changed passwords: for root in this container alone, by the socket, without a password.
-- Run at the first start; `start` has it run at every later one, for volumes of earlier releases.
CREATE USER IF NOT EXISTS stackctl@localhost IDENTIFIED WITH auth_socket AS 'root';
GRANT ALL ON *.* TO stackctl@localhost WITH GRANT OPTION;
