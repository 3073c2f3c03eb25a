"""What a stage is made of: cells, data, work folders, processes. The file to read first: cell.py."""
