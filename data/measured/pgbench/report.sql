-- The slower reporting query: balances by branch over a range of a quarter of a million accounts.
\set first random(1, 100000 * :scale - 249999)
SELECT bid, count(*) AS accounts, sum(abalance) AS balance, min(abalance) AS lowest, max(abalance) AS highest FROM pgbench_accounts WHERE aid BETWEEN :first AND :first + 249999 GROUP BY bid ORDER BY bid;
