-- How many jobs wait.
return waiting()
