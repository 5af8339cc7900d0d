"""The HTTP face: takes images, answers with jobs and their certificates; never loads torch."""
